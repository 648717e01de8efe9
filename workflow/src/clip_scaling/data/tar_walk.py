"""The members of a tar in one sequential pass that hashes on the way; damage is stepped over and said, never raised.

Headers are walked in a buffer and their checksums compared a buffer at a time: what `tarfile` does member by member
takes longer than the hash of a small image.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

import numpy as np

BLOCK = tarfile.BLOCKSIZE
_READ_BYTES = 4 << 20
_CONTENT_BYTES = 64 << 20
"""Members up to this size are handed out with their content; a larger one is stepped over: no image is one."""
_REGULAR = b"0\x007"
_EMPTY_KINDS = b"123456"
"""Links, devices, folders: no content follows, whatever their size says."""
_EXTENDED = b"xgLK"
"""Headers of long names and the like: with content, and before the header that they are about."""
_ZEROS = bytes(BLOCK)


class Member(NamedTuple):
    """A regular file in a tar.

    start: offset of its first header. end: of what follows its padded content. content: None where the tar ends
    inside it, or above 64 MB. is_after_damage: a header between it and the member before it could not be read.
    """

    name: bytes
    start: int
    end: int
    content: bytes | None
    is_after_damage: bool


class TarWalk:
    """Iterates the regular files of a tar. Afterwards `problems` says what is wrong with it as a whole:

    empty (not one byte), not_a_tar (no valid header in it), damaged_header (one does not fit its checksum; the walk
    goes on at the next that does), zeros_inside (empty blocks, which end a tar, and then more than these; likewise),
    cut (it ends inside a member, or without the empty blocks that end a tar).
    ends_in_damage: after the last member there was a damaged header.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._blocks = HashedBlocks(stream)
        self._found = 0
        self.problems: list[str] = []
        self.ends_in_damage = False

    def finish(self) -> tuple[int, str]:
        """Read what follows the end; (bytes, sha256) of the whole stream."""
        return self._blocks.finish()

    def __iter__(self) -> Iterator[Member]:
        blocks, is_after_damage = self._blocks, False
        at = 0
        while blocks.fill(at, at + BLOCK):
            walk = _walk(blocks, at)
            good = _good_headers(blocks.buffer, walk)
            for number, found in walk.files:
                if number >= good:
                    break
                self._found += 1
                yield self._member(found, is_after_damage)
                is_after_damage = False
            is_bad = good < len(walk.headers) or walk.stop == "bad"
            if is_bad or walk.stop == "end":
                place = blocks.start + walk.headers[good] if good < len(walk.headers) else walk.at
                resumed, is_only_zeros = _next_good_header(blocks, place + BLOCK)
                if resumed is None:
                    if is_bad:
                        self._note("damaged_header")
                        self.ends_in_damage = True
                    elif not is_only_zeros:
                        self._note("zeros_inside")
                    if not self._found:
                        self.problems = ["not_a_tar"]
                    return
                self._note("damaged_header" if is_bad else "zeros_inside")
                at, is_after_damage = resumed, True
            elif blocks.fill(walk.at, walk.upto):
                at = walk.at
            elif walk.pending is None:
                at = walk.at
                break
            else:  # the tar ends inside a member
                self._note("cut")
                self._found += 1
                yield self._member(walk.pending, is_after_damage)
                return
        self._note("empty" if not blocks.end else "cut" if self._found else "not_a_tar")

    def _member(self, found: _File, is_after_damage: bool) -> Member:
        blocks = self._blocks
        is_there = found.size <= _CONTENT_BYTES and found.content + found.size <= blocks.end
        content = blocks.content(found.content, found.size) if is_there else None
        end = min(found.content + _padded(found.size), max(blocks.end, found.content))
        return Member(found.name, found.start, end, content, is_after_damage)

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


class HashedBlocks:
    """A stream read once in big blocks, hashed by a thread of its own; a part of it is held in a buffer."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest = file, hashlib.sha256()
        self._hashing = ThreadPoolExecutor(1)
        self._hashed: Future[None] | None = None
        self.buffer, self.start, self.end = b"", 0, 0

    def fill(self, keep: int, upto: int) -> bool:
        """Hold the bytes from offset `keep` up to at least `upto`; False where the stream ends before."""
        if upto <= self.end:
            return True
        pieces = [self.buffer[keep - self.start :]] if keep < self.end else []
        while self.end < upto and (block := self._read()):
            if self.end + len(block) > keep:
                pieces.append(block[max(0, keep - self.end) :])
            self.end += len(block)
        self.buffer = b"".join(pieces)
        self.start = self.end - len(self.buffer)
        return self.end >= upto

    def content(self, offset: int, size: int) -> bytes:
        """Bytes that are held."""
        return self.buffer[offset - self.start : offset - self.start + size]

    def finish(self) -> tuple[int, str]:
        """Read to the end: bytes and sha256 of the whole stream."""
        while block := self._read():
            self.end += len(block)
        if self._hashed is not None:
            self._hashed.result()
        self._hashing.shutdown()
        return self.end, self._digest.hexdigest()

    def _read(self) -> bytes:
        block = self._file.read(_READ_BYTES)
        if block:
            if self._hashed is not None:
                self._hashed.result()
            self._hashed = self._hashing.submit(self._digest.update, block)
        return block


class _File(NamedTuple):
    """A regular file. start: its first header's offset. content: offset of its bytes."""

    name: bytes
    start: int
    content: int
    size: int


@dataclass
class _Walk:
    """What a buffer holds. headers: offsets in it, and the checksums they state.

    files: (number of the header that ends its headers, file). stop: more, end (an empty block) or bad. at: where it
    goes on, once the buffer holds all `upto`. pending: the file that needs so much.
    """

    headers: list[int] = field(default_factory=list)
    checksums: list[int] = field(default_factory=list)
    files: list[tuple[int, _File]] = field(default_factory=list)
    stop: str = "more"
    at: int = 0
    upto: int = 0
    pending: _File | None = None


def _walk(blocks: HashedBlocks, at: int) -> _Walk:
    """Follow headers from offset `at` as far as the buffer holds them, their checksums unseen."""
    buffer, base, end = blocks.buffer, blocks.start, blocks.end
    walk = _Walk(at=at)
    start: int | None = None
    long_name: bytes | None = None
    long_size: int | None = None
    while True:
        walk.at = at if start is None else start
        walk.upto = at + BLOCK
        if at + BLOCK > end:
            return walk
        header = buffer[at - base : at - base + BLOCK]
        if header == _ZEROS:
            walk.stop = "end"
            return walk
        try:
            size, checksum = int(header[124:135], 8), int(header[148:154], 8)
        except ValueError:
            numbers = _numbers(header)
            if numbers is None:
                walk.stop, walk.at = "bad", at
                return walk
            size, checksum = numbers
        kind = header[156]
        if long_size is not None and kind in _REGULAR:
            size = long_size
        if kind in _EMPTY_KINDS:
            size = 0
        content = at + BLOCK
        following = content + _padded(size)
        walk.headers.append(at - base)
        walk.checksums.append(checksum)
        name = _name(header) if long_name is None else long_name
        if following > end and (size <= _CONTENT_BYTES or kind in _EXTENDED):
            walk.upto = following  # taken up again when the buffer holds it
            if kind in _REGULAR:
                walk.pending = _File(name, at if start is None else start, content, size)
            return walk
        if kind in b"xL":
            start = at if start is None else start
            text = buffer[content - base : content - base + size]
            if kind == ord("L"):
                long_name = text.rstrip(b"\0")
            else:
                records = _pax_records(text)
                long_name = records.get(b"path", long_name)
                long_size = int(records[b"size"]) if records.get(b"size", b"").isdigit() else long_size
        elif kind == ord("K"):
            start = at if start is None else start
        elif kind != ord("g"):
            if kind in _REGULAR:
                file = _File(name, at if start is None else start, content, size)
                walk.files.append((len(walk.headers) - 1, file))
            start = long_name = long_size = None
        at = following


def _good_headers(buffer: bytes, walk: _Walk) -> int:
    """How many of the headers, from the first, fit their checksums."""
    if not walk.headers:
        return 0
    places = np.array(walk.headers)
    rows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(buffer, np.uint8), BLOCK)[places]
    sums = rows.sum(1, dtype=np.int64) - rows[:, 148:156].sum(1, dtype=np.int64) + 8 * 0x20
    for number in np.flatnonzero(sums != np.array(walk.checksums)).tolist():
        if not _is_header(rows[number].tobytes()):
            return int(number)
    return len(places)


def _next_good_header(blocks: HashedBlocks, at: int) -> tuple[int | None, bool]:
    """Offset of the next block that is a header with the right checksum, and whether zeros alone come before it."""
    is_only_zeros = True
    while blocks.fill(at, at + BLOCK):
        count = (blocks.end - at) // BLOCK
        held = np.frombuffer(blocks.buffer, np.uint8, count * BLOCK, at - blocks.start).reshape(count, BLOCK)
        for number in np.flatnonzero((held[:, 257:262] == np.frombuffer(b"ustar", np.uint8)).all(1)).tolist():
            if _is_header(held[number].tobytes()):
                return at + int(number) * BLOCK, is_only_zeros and not held[:number].any()
        is_only_zeros = is_only_zeros and not held.any()
        at += count * BLOCK
    return None, is_only_zeros and not blocks.content(at, BLOCK).strip(b"\0")


def _numbers(header: bytes) -> tuple[int, int] | None:
    """Size and checksum that are not plain octal digits, as sizes from 8 GB on; None where they are no numbers."""
    try:
        found = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except tarfile.TarError:
        return None
    return (found.size, found.chksum) if found.size >= 0 else None


def _is_header(block: bytes) -> bool:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size >= 0
    except tarfile.TarError:
        return False


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    if header[345] and header[257:263] == b"ustar\0":
        return header[345:500].split(b"\0", 1)[0] + b"/" + name
    return name


def _pax_records(text: bytes) -> dict[bytes, bytes]:
    """{keyword: value} of a PAX header's `length keyword=value` records; as many as can be read."""
    found: dict[bytes, bytes] = {}
    place = 0
    while place < len(text):
        length, _, _ = text[place : place + 20].partition(b" ")
        if not length.isdigit() or int(length) <= len(length):
            break
        keyword, _, value = text[place + len(length) + 1 : place + int(length) - 1].partition(b"=")
        found[keyword] = value
        place += int(length)
    return found


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
