"""Members of a tar from one pass over a stream, hashed on the way; damage is stepped over and said, never raised."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = tarfile.BLOCKSIZE
_BUFFER = 1 << 20
_REGULAR = (b"0", b"\0", b"7")
_LONG_NAME, _LONG_LINK, _PAX, _GLOBAL_PAX = b"L", b"K", b"x", b"g"
_EXTENDED = (_LONG_NAME, _LONG_LINK, _PAX, _GLOBAL_PAX)
_MAX_EXTENDED = 1 << 20
"""A longer header of names and the like is taken for damage."""
_DIRECT = 1 << 26
"""Content up to here is asked for at once; beyond it piece by piece: a false size must not reserve memory."""


class HashedStream(io.RawIOBase):
    """A stream that hashes and counts all that is read of it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.bytes = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer as far as the stream goes at once."""
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        self._digest.update(content)
        self.bytes += len(content)
        return len(content)

    def hexdigest(self) -> str:
        """sha256 of what was read so far."""
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar.

    start: offset of its first header. end: of what follows its padded content. content: None where the tar ends
    inside it. is_after_damage: a header between it and the member before it could not be read.
    """

    name: bytes
    start: int
    end: int
    content: bytes | None
    is_after_damage: bool


class TarWalk:
    """Iterates the regular files of a tar. Afterwards `problems` says what is wrong with it as a whole:

    empty (not one byte), not_a_tar (no valid header in it), damaged_header (one does not fit its checksum; the walk
    goes on at the next that does), cut (it ends inside a member, or without the empty blocks that end a tar).
    ends_in_damage: after the last member there was a damaged header.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._hashed = HashedStream(stream)
        self._file = io.BufferedReader(self._hashed, _BUFFER)
        self._at = 0
        self.problems: list[str] = []
        self.ends_in_damage = False

    def finish(self) -> tuple[int, str]:
        """Read what follows the end; (bytes, sha256) of the whole stream."""
        while self._file.read(_BUFFER):
            pass
        return self._hashed.bytes, self._hashed.hexdigest()

    def __iter__(self) -> Iterator[Member]:
        found, empty, is_after_damage = 0, 0, False
        start = 0
        name: bytes | None = None
        size: int | None = None
        pending: bytes | None = None
        while True:
            header = self._read(BLOCK) if pending is None else pending
            pending = None
            here = self._at - len(header)
            if len(header) < BLOCK:
                self._ended(found)
                return
            if not header.strip(b"\0"):
                empty += 1
                if empty == 2:
                    return
                continue
            parsed = _parse(header)
            if parsed is None or (parsed[2] in _EXTENDED and parsed[1] > _MAX_EXTENDED):
                self._note("damaged_header")
                is_after_damage, name, size, empty = True, None, None, 0
                pending = self._next_valid_header()
                if pending is None:
                    self.ends_in_damage = True
                    if not found:
                        self.problems = ["not_a_tar"]
                    return
                continue
            empty = 0
            own_name, own_size, kind = parsed
            if name is None and size is None:
                start = here
            if kind in _EXTENDED:
                extended = self._content(own_size)
                if extended is None:
                    self._note("cut")
                    return
                if kind == _LONG_NAME:
                    name = extended.rstrip(b"\0")
                elif kind == _PAX:
                    records = _pax_records(extended)
                    name = records.get(b"path", name)
                    size = int(records[b"size"]) if records.get(b"size", b"").isdigit() else size
                continue
            found += 1
            content = self._content((own_size if size is None else size) if kind in _REGULAR else 0)
            if content is None:
                self._note("cut")
            if kind in _REGULAR:
                yield Member(name or own_name, start, self._at, content, is_after_damage)
                is_after_damage = False
            name, size = None, None
            if content is None:
                return

    def _ended(self, found: int) -> None:
        """The stream ends where a header or an empty block should be."""
        if not self._at:
            self._note("empty")
        elif not found:
            self.problems = ["not_a_tar"]
        else:
            self._note("cut")

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _read(self, size: int) -> bytes:
        content = self._file.read(size)
        self._at += len(content)
        return content

    def _content(self, size: int) -> bytes | None:
        """Content of a member, read past the blocks that it fills; None where the stream ends before its end."""
        whole = -(-size // BLOCK) * BLOCK
        if whole <= _DIRECT:
            content = self._read(whole)
        else:
            pieces = []
            while whole and (piece := self._read(min(whole, _DIRECT))):
                pieces.append(piece)
                whole -= len(piece)
            content = b"".join(pieces)
        return content[:size] if len(content) >= size else None

    def _next_valid_header(self) -> bytes | None:
        """Step over blocks to the next header that fits its checksum; None where the tar ends before one."""
        empty = 0
        while True:
            block = self._read(BLOCK)
            if len(block) < BLOCK:
                if empty < 2:
                    self._note("cut")
                return None
            if block[257:262] == b"ustar" and _parse(block) is not None:
                return block
            empty = 0 if block.strip(b"\0") else empty + 1


def _parse(header: bytes) -> tuple[bytes, int, bytes] | None:
    """(name, size, type) of a header block; None where it does not fit its checksum (POSIX.1-2001, pax)."""
    try:
        promised = int(header[148:156].split(b"\0", 1)[0].strip() or b"x", 8)
        if sum(header) - sum(header[148:156]) + 8 * 0x20 != promised:
            # Some old writers summed signed bytes; that is rare and slow, so tarfile may say.
            tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
        number = header[124:136]
        size = int.from_bytes(number[1:], "big") if number[0] == 0x80 else int(number.strip(b" \0") or b"0", 8)
    except (ValueError, tarfile.TarError):
        return None
    if size < 0:
        return None
    name = header[:100].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and header[345] != 0:
        name = header[345:500].split(b"\0", 1)[0] + b"/" + name
    return name, size, header[156:157]


def _pax_records(content: bytes) -> dict[bytes, bytes]:
    """{keyword: value} of a pax header: records of `length keyword=value` and a newline; none where it is damaged."""
    records = {}
    place = 0
    while place < len(content) and content[place] != 0:
        length, _, _ = content[place : place + 20].partition(b" ")
        if not length.isdigit() or not int(length):
            return {}
        keyword, _, value = content[place + len(length) + 1 : place + int(length) - 1].partition(b"=")
        records[keyword] = value
        place += int(length)
    return records
