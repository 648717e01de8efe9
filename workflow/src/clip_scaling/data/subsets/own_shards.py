"""Take pairs out of the shards that a source was prepared in: whole tars are linked, samples copied byte by byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...records.data import SourceManifest
from ...records.files import FileEntry, ShardEntry, atomic_path
from ..shards.write import ShardIndex, by_shard, end_tar, link_or_copy, shard_name


def link_shards(root: Path, home: Path, source: SourceManifest, rows: np.ndarray) -> list[ShardEntry]:
    """Link the shards of a source's first pairs under root, with their index; the last one is cut where they end in it.

    home: the source's folder. rows: of its index.
    """
    index = ShardIndex(len(rows))
    for number, inside in by_shard(rows):
        path, entry = root / shard_name(number), source.shards[number]
        if len(inside) == entry.pairs:
            link_or_copy(home / entry.path, path)
        else:
            _copy(home, source, inside, path)
        index.add(FileEntry.of(path, root), inside["offset"], inside["size"])
    return index.write(root)


def copy_shards(root: Path, home: Path, source: SourceManifest, rows: np.ndarray) -> list[ShardEntry]:
    """Copy chosen pairs under root, with their index, into shards of the source's size, filled in order.

    home: the source's folder. rows: of its index.
    """
    index, size = ShardIndex(len(rows)), source.recipe["shard_size"]
    for number, start in enumerate(range(0, len(rows), size)):
        path, inside = root / shard_name(number), rows[start : start + size]
        offsets = _copy(home, source, inside, path)
        index.add(FileEntry.of(path, root), offsets, inside["size"])
    return index.write(root)


def _copy(home: Path, source: SourceManifest, rows: np.ndarray, target: Path) -> list[int]:
    """Write whole samples, one after the other, as a tar; the offset of each in it."""
    offsets = []
    with atomic_path(target) as temporary, open(temporary, "wb") as tar:
        for number, inside in by_shard(rows):
            with open(home / source.shards[number].path, "rb") as whole:
                for offset, size in zip(inside["offset"].tolist(), inside["size"].tolist(), strict=True):
                    whole.seek(offset)
                    offsets.append(tar.tell())
                    tar.write(whole.read(size))
        end_tar(tar)
    return offsets
