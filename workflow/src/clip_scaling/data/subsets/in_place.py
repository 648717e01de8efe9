"""Take pairs out of existing tars, which stay as they are: list their places in them, or copy them into own shards.

Either way pairs stand tar by tar, so that both are the same data to training.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DataError
from ...records.data import SourceManifest
from ...records.files import ShardEntry
from ..shards.opening import is_url
from ..shards.read import PairReader, UnreadablePair
from ..shards.write import Members, ShardIndex, by_shard, symlink, write_shards


@dataclass(frozen=True)
class TarAccess:
    """Ways to take pairs from existing tars.

    verify: how the tars are compared with the source's manifest first: size, sample or full.
    shard_size: of the shards that the pairs are copied into; None: the subset lists their places.
    """

    verify: str = "sample"
    shard_size: int | None = None


AS_LISTS = TarAccess()


def list_pairs(root: Path, home: Path, source: SourceManifest, rows: np.ndarray) -> list[ShardEntry]:
    """Write under root an index of the pairs, and links to their tars.

    home: the source's folder. rows: of the source's index.
    """
    index = ShardIndex(len(rows))
    for number, inside in by_shard(_tar_by_tar(rows)):
        entry = source.shards[number]
        if not is_url(entry.path):
            # To the source's own link: where tars have moved, that one alone is made again.
            symlink(home / entry.path, root / entry.path, is_relative=True)
        index.add(entry, inside["offset"], inside["size"])
    return index.write(root)


def copy_pairs(
    root: Path, source_manifest: Path, source: SourceManifest, rows: np.ndarray, shard_size: int
) -> list[ShardEntry]:
    """Copy the pairs into shards under root, with their index. rows: of the source's index.

    DataError where a pair cannot be read.
    """
    with PairReader(source_manifest, source.shards, _tar_by_tar(rows), source.caption_key) as reader:
        return write_shards(root, _samples(root.name, reader), reader.pairs, shard_size)


def _tar_by_tar(rows: np.ndarray) -> np.ndarray:
    # A structured sort by all fields would be many times slower.
    return rows[np.lexsort((rows["offset"], rows["shard"]))]


def _samples(name: str, reader: PairReader) -> Iterator[tuple[str, Members]]:
    """Yield image, caption and metadata of pairs under new keys: those of two tars may be the same."""
    for number in range(reader.pairs):
        try:
            image, caption, members = reader.read_sample(number)
        except UnreadablePair as error:
            raise DataError(str(error), place=f"data {name}", remedy=reader.remedy) from None
        kept = {extension: members[extension] for extension in (image, "json") if extension in members}
        yield f"{number:09d}", {**kept, "txt": caption}
