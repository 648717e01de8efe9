"""Downloads end: after so many bytes, after so much time, and at no address that they were not sent to."""

from __future__ import annotations

import http.server
import io
import threading
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clip_scaling.data import web


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by path."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str | None]] = []

    def log_message(self, format: str, *args: Any) -> None:
        self.asked.append((self.path, self.headers.get("Authorization")))

    def do_GET(self) -> None:
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path.removeprefix("/to/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        if self.path == "/cut":
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"x" * 10)
            self.close_connection = True
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for _ in range(5 if self.path == "/short" else 10_000):
                self.wfile.write(b"a\r\n" + b"x" * 10 + b"\r\n")
                self.wfile.flush()
                time.sleep(0.02 if self.path == "/slow" else 0)
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True


@pytest.fixture
def address() -> Iterator[str]:
    """A server on this machine."""
    Handler.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def fetch(url: str, max_bytes: float = 1e6, seconds: float = 60) -> bytes:
    file = io.BytesIO()
    web.download(url, file, max_bytes, seconds)
    return file.getvalue()


def test_a_chunked_answer_comes_whole(address: str) -> None:
    assert fetch(f"{address}/short") == b"x" * 50


def test_a_chunked_answer_that_is_too_long_is_given_up(address: str) -> None:
    with pytest.raises(web.TooMuch, match="more than 1000 bytes"):
        fetch(f"{address}/endless", max_bytes=1000)


def test_a_server_that_sends_a_little_at_a_time_is_given_up(address: str) -> None:
    with pytest.raises(TimeoutError, match="timed out"):
        fetch(f"{address}/slow", seconds=0.2)


def test_an_answer_that_ends_too_early_is_an_error(address: str) -> None:
    with pytest.raises(web.http.client.IncompleteRead):
        fetch(f"{address}/cut")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_redirect_to_another_scheme_is_refused(address: str, target: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="is refused|is not allowed"):
        fetch(f"{address}/to/{target}")
    with pytest.raises(ValueError, match="not an address of http"):
        fetch(target)


def test_a_redirect_from_a_public_address_into_a_private_network_is_refused(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch(f"{address}/to/{address}/short") == b"x" * 50  # private to private: the user named it
    is_private = web.is_private
    monkeypatch.setattr(web, "is_private", lambda host: host == "localhost" and is_private(host))
    inner = address.replace("127.0.0.1", "localhost")
    with pytest.raises(urllib.error.HTTPError, match="to the private localhost is refused"):
        fetch(f"{address}/to/{inner}/short")
    monkeypatch.setenv(web.ALLOW_PRIVATE, "1")
    assert fetch(f"{address}/to/{inner}/short") == b"x" * 50


def test_addresses_of_private_networks_are_known() -> None:
    for host in ("127.0.0.1", "10.1.2.3", "192.168.0.1", "169.254.169.254", "::1", "localhost"):
        assert web.is_private(host), host
    assert not web.is_private("8.8.8.8")


def test_credentials_of_netrc_go_to_their_host_and_not_on_to_others(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    fetch(f"{address}/to/{address.replace('127.0.0.1', 'localhost')}/short")
    # me:secret in base64.
    assert [sent for _, sent in Handler.asked] == ["Basic bWU6c2VjcmV0", None]
