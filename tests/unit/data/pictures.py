"""PNGs, EXIF and pixels of every kind, byte by byte: what no encoder of Pillow's would write."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterable
from typing import Any

from PIL import Image

GREY, COLOUR, TRANSPARENT = 0, 2, 6
"""A PNG's kinds of colour."""


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(
    size: tuple[int, int],
    bits: int,
    colour: int,
    rows: Iterable[bytes],
    *chunks: tuple[bytes, bytes],
    after: bytes = b"",
) -> bytes:
    """chunks: (kind, content) before the pixels. after: whole chunks that follow them."""
    squeeze = zlib.compressobj(1)
    pixels = b"".join([*(squeeze.compress(b"\0" + row) for row in rows), squeeze.flush()])
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, bits, colour, 0, 0, 0))
    before = b"".join(chunk(*each) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + head + before + chunk(b"IDAT", pixels) + after + chunk(b"IEND", b"")


def long_text(kind: bytes = b"zTXt") -> tuple[bytes, bytes]:
    """A chunk whose text Pillow refuses: 2 MiB, compressed."""
    begins = {b"zTXt": b"prompt\0\0", b"iTXt": b"prompt\0\x01\0\0\0", b"iCCP": b"profile\0\0"}
    return kind, begins[kind] + zlib.compress(bytes(2 << 20))


def exif(*entries: tuple[int, int, int, bytes]) -> bytes:
    """EXIF of one directory. entries: (tag, type, count, value)."""
    head, data, after = b"II*\0" + struct.pack("<IH", 8, len(entries)), b"", 14 + 12 * len(entries)
    for tag, kind, count, value in entries:
        if len(value) <= 4:
            head += struct.pack("<HHI", tag, kind, count) + value.ljust(4, b"\0")
        else:
            head += struct.pack("<HHII", tag, kind, count, after + len(data))
            data += value
    return b"Exif\0\0" + head + bytes(4) + data
