"""The files of a data set: webdataset tars with deterministic bytes, and their offset index."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import ArrayLike

from ...records.filenames import INDEX, MANIFEST
from ...records.files import FileEntry, ShardEntry, atomic_path
from ..progress import Progress

INDEX_DTYPE = np.dtype([("shard", "<u4"), ("offset", "<u8"), ("size", "<u8")])
"""One row a pair: its shard, the offset of its first tar header, the bytes of all its members."""

Members = Mapping[str, bytes]


def write_tar(path: Path, samples: Iterable[tuple[str, Members]]) -> list[tuple[int, int]]:
    """Write one webdataset tar atomically: member `key.extension` for each sample, no times, no owners.

    Returns: (offset, size) of each sample in the tar.
    """
    spans = []
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for key, members in samples:
            start = tar.offset
            for extension, content in sorted(members.items()):
                header = tarfile.TarInfo(f"{key}.{extension}")
                header.size = len(content)
                header.mode = 0o444
                tar.addfile(header, io.BytesIO(content))
            spans.append((start, tar.offset - start))
    return spans


class ShardIndex:
    """Shards of a data set, with the row of each pair in index.npy, while they are written."""

    def __init__(self, pairs: int) -> None:
        """pairs: of the whole data set."""
        self.rows = np.empty(pairs, INDEX_DTYPE)
        self.shards: list[ShardEntry] = []
        self._filled = 0

    def add(self, entry: FileEntry, offsets: ArrayLike, sizes: ArrayLike) -> None:
        """Add the next shard. offsets, sizes: of each of its pairs, as in the index."""
        offsets = np.asarray(offsets, np.uint64)
        inside = slice(self._filled, self._filled + len(offsets))
        self.rows["shard"][inside] = len(self.shards)
        self.rows["offset"][inside], self.rows["size"][inside] = offsets, sizes
        self.shards.append(entry.with_pairs(len(offsets)))
        self._filled = inside.stop

    def write(self, root: Path) -> list[ShardEntry]:
        """Write index.npy under root; the manifest's list of shards."""
        write_array(root / INDEX, self.rows)
        return self.shards


def write_shards(root: Path, samples: Iterable[tuple[str, Members]], pairs: int, shard_size: int) -> list[ShardEntry]:
    """Write `shards/00000.tar`, ... and `index.npy` under root; the manifest's list of shards. pairs: of samples."""
    index = ShardIndex(pairs)
    progress = Progress("written", pairs)
    remaining = iter(samples)
    for number in range(-(-pairs // shard_size)):
        path = root / shard_name(number)
        spans = write_tar(path, islice(remaining, shard_size))
        index.add(FileEntry.of(path, root), *zip(*spans, strict=True))
        progress.add(len(spans))
    return index.write(root)


def by_shard(rows: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (number of the shard, its rows) of rows of an index that ascend by shard."""
    for inside in np.split(rows, np.flatnonzero(rows["shard"][1:] != rows["shard"][:-1]) + 1):
        yield int(inside["shard"][0]), inside


def shard_name(number: int) -> str:
    """Path of a shard relative to its data set."""
    return f"shards/{number:05d}.tar"


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as .npy, atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, array)


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file where the file system can, else copy it; atomic either way."""
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def symlink(target: Path, path: Path, *, is_relative: bool = False) -> None:
    """Link `path` to the resolved `target`. is_relative: to `target` as it is, which may be a link itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent) if is_relative else target.resolve())


def end_tar(tar: BinaryIO) -> None:
    """End a tar of whole samples as tarfile does: two empty blocks, padded to a whole record."""
    end = tar.tell() + 2 * tarfile.BLOCKSIZE
    tar.write(bytes(-(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE - tar.tell()))


def clear(root: Path, *folders: str) -> None:
    """Remove what an earlier or a killed run left: the manifest first, then the folders and temporary files."""
    (root / MANIFEST).unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(root / folder, ignore_errors=True)
    for leftover in root.glob(".*.tmp"):
        leftover.unlink()
