"""Downloads over HTTP: bounded in bytes and time, redirects checked, credentials from netrc. Standard library only."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import netrc
import os
import socket
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any, BinaryIO

ALLOW_PRIVATE = "CLIP_SCALING_ALLOW_PRIVATE_REDIRECTS"
"""Environment variable: 1 lets a public address redirect to one of a private network."""
SOCKET_SECONDS = 60.0
_BLOCK = 1 << 16


class TooMuch(ValueError):
    """An answer is longer than it may be."""


class CheckedRedirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to http and https alone, and none that leads from a public address into a private network."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        """The next request; HTTPError where it is refused."""
        scheme, host = urllib.parse.urlsplit(newurl).scheme, urllib.parse.urlsplit(newurl).hostname
        reason = None
        if scheme not in ("http", "https"):
            reason = f"redirect error: to {scheme}: is refused"
        elif os.environ.get(ALLOW_PRIVATE) != "1" and is_private(host) and not is_private(_host(req.full_url)):
            reason = f"redirect error: from a public address to the private {host} is refused (see {ALLOW_PRIVATE})"
        if reason:
            raise urllib.error.HTTPError(req.full_url, code, reason, headers, fp)
        following = super().redirect_request(req, fp, code, msg, headers, newurl)
        if following is not None and host != _host(req.full_url):
            following.remove_header("Authorization")  # credentials are for the host that they were given for
        return following


def is_private(host: str | None) -> bool:
    """Whether a name leads to an address that is not of the public internet; False where it leads nowhere."""
    try:
        found = socket.getaddrinfo(host or "", None)
    except (OSError, UnicodeError):
        return False
    return any(not ipaddress.ip_address(str(entry[4][0]).split("%")[0]).is_global for entry in found)


def _host(url: str) -> str | None:
    return urllib.parse.urlsplit(url).hostname


def limited_blocks(answer: http.client.HTTPResponse, max_bytes: float, seconds: float) -> Iterator[bytes]:
    """Yield an answer's bytes as they come. TooMuch, TimeoutError, or IncompleteRead where it ends too early."""
    deadline, total = time.monotonic() + seconds, 0
    while block := answer.read1(_BLOCK):
        total += len(block)
        if total > max_bytes:
            raise TooMuch(f"more than {max_bytes:.0f} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError(f"timed out: {total} bytes in {seconds:.0f} s")
        yield block
    if answer.length:
        raise http.client.IncompleteRead(b"", answer.length)


def http_opener(*handlers: urllib.request.BaseHandler) -> urllib.request.OpenerDirector:
    """An opener of http and https with checked redirects; neither file: nor ftp:, unlike urllib's own."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        CheckedRedirects(),
        urllib.request.HTTPErrorProcessor(),
        *handlers,
    ):
        opener.add_handler(handler)
    return opener


def download(url: str, file: BinaryIO, max_bytes: float, seconds: float) -> int:
    """Write what an http(s) address gives into a file; the number of bytes. OSError, ValueError, HTTPException."""
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ValueError("not an address of http or https")
    request = urllib.request.Request(url, headers=_credentials(_host(url)))
    total = 0
    with http_opener().open(request, timeout=SOCKET_SECONDS) as answer:
        for block in limited_blocks(answer, max_bytes, seconds):
            total += file.write(block)
    return total


def _credentials(host: str | None) -> dict[str, str]:
    """The header of a host's entry in the user's netrc."""
    try:
        entry = netrc.netrc(os.environ.get("NETRC")).authenticators(host or "")
    except (OSError, netrc.NetrcParseError):
        return {}
    if entry is None:
        return {}
    token = base64.b64encode(f"{entry[0]}:{entry[2]}".encode()).decode()
    return {"Authorization": f"Basic {token}"}
