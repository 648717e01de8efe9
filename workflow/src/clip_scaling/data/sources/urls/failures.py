"""Why an image could not be had: img2dataset's messages sorted into classes, and which of them may pass."""

from __future__ import annotations

import re

PASSING = frozenset({"timeout", "connection", "dns", "incomplete", "server_error", "too_many_requests", "no_record"})
"""Classes that are asked for again: the fault may be the network's or the hour's."""

_RULES: tuple[tuple[str, str], ...] = (
    (r"hash mismatch", "image_changed"),
    (r"X-Robots-Tag", "robots_tag"),
    (r"HTTP Error (?:408|504)\b", "timeout"),
    (r"HTTP Error (?:425|429)\b", "too_many_requests"),
    (r"HTTP Error 404\b", "http_404"),
    (r"HTTP Error 410\b", "http_410"),
    (r"HTTP Error 40[13]\b|HTTP Error 451\b", "forbidden"),
    (r"HTTP Error 4\d\d\b", "http_4xx"),
    (r"HTTP Error 5\d\d\b", "server_error"),
    (r"HTTP Error 3\d\d\b|redirect error", "redirect"),
    (r"timed out", "timeout"),
    (r"IncompleteRead", "incomplete"),
    (r"Name or service|name resolution|nodename|No address associated|getaddrinfo", "dns"),
    (r"SSL|TLS|certificate|CERTIFICATE", "tls"),
    (r"Connection (?:reset|refused|aborted)|Remote end closed|Broken pipe|unreachable|No route to host", "connection"),
    (r"image is cut off", "truncated_image"),
    (r"bytes of an image", "image_bytes"),
    (r"image too small", "image_side"),
    (r"aspect ratio too large", "image_aspect_ratio"),
    (r"MAX_IMAGE_PIXELS", "image_pixels"),
    (r"Image decoding error|image decoding|imdecode|OpenCV", "not_an_image"),
    (
        r"url type|no host|InvalidURL|nonnumeric port|Invalid IPv6|control characters|codec can't encode|label",
        "bad_url",
    ),
)
_COMPILED = tuple((re.compile(pattern), name) for pattern, name in _RULES)


def failure_class(message: str | None) -> str:
    """Class of an error message; `other` for one that no rule knows, `no_record` where there is none."""
    if message is None:
        return "no_record"
    return next((name for pattern, name in _COMPILED if pattern.search(message)), "other")
