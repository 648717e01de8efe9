"""The members of a tar in one sequential pass that hashes on the way; damage is stepped over and said, never raised.

Headers are walked in a buffer and their checksums compared a buffer at a time: what `tarfile` does member by member
takes longer than the hash of a small image.
"""

from __future__ import annotations

import hashlib
import tarfile
from bisect import bisect_left
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

BLOCK = tarfile.BLOCKSIZE
_READ_BYTES = 512 << 10
"""As measured: smaller reads cost calls, larger ones leave the cache of a core."""
_CONTENT_BYTES = 1 << 30
"""Members up to this size are held whole; a larger one is stepped over: no image is one."""
_REGULAR = b"0\x007"
_EMPTY_KINDS = b"123456"
"""Links, devices, folders: no content follows, whatever their size says."""
_EXTENDED = b"xgLK"
"""Headers of long names and the like: with content, and before the header that they are about."""
_ZEROS = bytes(BLOCK)


Member = tuple[bytes, int, int, int]
"""A regular file in a tar: its name; offsets of its first header and of its content; its size. A plain tuple: there are
three for each small image."""


class TarWalk:
    """Iterates the regular files of a tar, a buffer's at a time: (members, whether a header between the first of them
    and the member before it could not be read). Afterwards `problems` says what is wrong with it as a whole:

    empty (not one byte), not_a_tar (no valid header in it), damaged_header (one does not fit its checksum; the walk
    goes on at the next that does), zeros_inside (empty blocks, which end a tar, and then more than these; likewise),
    cut (it ends inside a member, or without the empty blocks that end a tar).
    ends_in_damage: after the last member there was a damaged header. is_cut_inside: the last member is not whole.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._blocks = HashedBlocks(stream)
        self._found = 0
        self.problems: list[str] = []
        self.ends_in_damage = False
        self.is_cut_inside = False

    def content(self, offset: int, size: int) -> bytes:
        """Content of one of the members that the iteration has just given."""
        return self._blocks.content(offset, size)

    def end(self, offset: int, size: int) -> int:
        """Offset of what follows a member's padded content, or of the tar's end."""
        return min(offset + (size + BLOCK - 1 & -BLOCK), max(self._blocks.end, offset + size))

    def finish(self) -> tuple[int, str]:
        """Read what follows the end; (bytes, sha256) of the whole stream."""
        return self._blocks.finish()

    def close(self) -> None:
        """End the thread of the hash, where the stream is not read to its end."""
        self._blocks.close()

    def __iter__(self) -> Iterator[tuple[list[Member], bool]]:
        blocks, is_after_damage = self._blocks, False
        at = 0
        while blocks.fill(at, at + BLOCK):
            walk = _walk(blocks, at)
            good = _good_headers(blocks.buffer, walk)
            members = walk.files[: bisect_left(walk.numbers, good)]
            if members:
                self._found += len(members)
                yield members, is_after_damage
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
                _, _, content, size = walk.pending
                self.is_cut_inside = content + size > blocks.end
                yield [walk.pending], is_after_damage
                return
        self._note("empty" if not blocks.end else "cut" if self._found else "not_a_tar")

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

    def close(self) -> None:
        """End the thread of the hash."""
        self._hashing.shutdown()

    def _read(self) -> bytes:
        block = self._file.read(_READ_BYTES)
        if block:
            if self._hashed is not None:
                self._hashed.result()
            self._hashed = self._hashing.submit(self._digest.update, block)
        return block


@dataclass
class _Walk:
    """What a buffer holds, checksums unseen. headers: their offsets in it. numbers: of each file's last header.

    stop: more, end (an empty block) or bad. at: where it goes on, once the buffer holds all `upto`. pending: the file
    that needs it.
    """

    headers: list[int] = field(default_factory=list)
    files: list[Member] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    stop: str = "more"
    at: int = 0
    upto: int = 0
    pending: Member | None = None


def _walk(blocks: HashedBlocks, at: int) -> _Walk:
    """Follow headers from offset `at` as far as the buffer holds them."""
    buffer, base = blocks.buffer, blocks.start
    end, place = len(buffer), at - base  # from here on, offsets in the buffer
    walk = _Walk()
    headers, files, numbers = walk.headers, walk.files, walk.numbers
    start: int | None = None
    long_name: bytes | None = None
    long_size: int | None = None
    while True:
        content = place + BLOCK
        if content > end:
            break
        if not buffer[place] and buffer[place:content] == _ZEROS:
            walk.stop = "end"
            break
        try:
            size = int(buffer[place + 124 : place + 135], 8)
        except ValueError:
            number = _binary_size(buffer[place:content])
            if number is None:
                walk.stop, start = "bad", None
                break
            size = number
        kind = buffer[place + 156]
        if long_size is not None and kind in _REGULAR:
            size = long_size
        elif kind in _EMPTY_KINDS:
            size = 0
        following = content + (size + BLOCK - 1 & -BLOCK)
        headers.append(place)
        if kind in _EXTENDED:
            if following > end:
                content = following  # taken up again when the buffer holds it
                break
            if kind != ord("g"):
                start = place if start is None else start
            text = buffer[content : content + size]
            if kind == ord("L"):
                long_name = text.rstrip(b"\0")
            elif kind == ord("x"):
                records = _pax_records(text)
                long_name = records.get(b"path", long_name)
                long_size = int(records[b"size"]) if records.get(b"size", b"").isdigit() else long_size
        else:
            if kind in _REGULAR:
                first = base + (place if start is None else start)
                name = _name(buffer, place) if long_name is None else long_name
                if following > end and size <= _CONTENT_BYTES:
                    walk.pending = name, first, base + content, size
                    content = following
                    break
                numbers.append(len(headers) - 1)
                files.append((name, first, base + content, size))
            start = long_name = long_size = None
        place = following
    walk.at = base + (place if start is None else start)
    walk.upto = base + content
    return walk


def _good_headers(buffer: bytes, walk: _Walk) -> int:
    """How many of the headers, from the first, fit their checksums."""
    if not walk.headers:
        return 0
    places = np.array(walk.headers)
    rows = np.lib.stride_tricks.sliding_window_view(np.frombuffer(buffer, np.uint8), BLOCK)[places]
    stated = rows[:, 148:156].astype(np.int32)
    sums = rows.sum(1, dtype=np.int32) - stated.sum(1) + 8 * 0x20
    digits = stated[:, :6] - ord("0")
    is_good = ((digits >= 0) & (digits < 8)).all(1) & (digits @ 8 ** np.arange(5, -1, -1) == sums)
    for number in np.flatnonzero(~is_good).tolist():
        if not _is_header(rows[number].tobytes()):  # as tarfile reads it: fewer digits, or sums of signed bytes
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


def _binary_size(header: bytes) -> int | None:
    """A size that is not in plain octal digits, as those from 8 GB on; None where it is no number."""
    try:
        size = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape").size
    except tarfile.TarError:
        return None
    return size if size >= 0 else None


def _is_header(block: bytes) -> bool:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape").size >= 0
    except tarfile.TarError:
        return False


def _name(buffer: bytes, place: int) -> bytes:
    end = buffer.find(b"\0", place, place + 100)
    name = buffer[place : place + 100 if end < 0 else end]
    if buffer[place + 345] and buffer[place + 257 : place + 263] == b"ustar\0":
        return buffer[place + 345 : place + 500].split(b"\0", 1)[0] + b"/" + name
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
