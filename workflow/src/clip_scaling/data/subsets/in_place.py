"""A subset of tars that stay as they are: a list of its pairs' places in them, or a copy of its pairs in own shards.

Either way pairs stand tar by tar, so that both are the same data to training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...records.files import describe_file, verify_files
from ..progress import Progress
from ..shards.cache import is_url
from ..shards.read import PairReader, UnreadablePair
from ..shards.verify import verify_shards
from ..shards.write import (
    INDEX_DTYPE,
    Members,
    clear,
    read_manifest,
    shard_name,
    symlink,
    write_index,
    write_subset_manifest,
    write_tar,
)


@dataclass(frozen=True)
class TarAccess:
    """How a subset takes pairs from existing tars.

    verify: how these are held against the source's manifest first: size, sample or full.
    shard_size: of the shards that the pairs are copied into; None: the subset lists their places.
    """

    verify: str = "sample"
    shard_size: int | None = None


AS_LISTS = TarAccess()


def write_tar_subset(
    root: Path,
    name: str,
    source_manifest: Path,
    places: NDArray[np.int64] | None,
    about: Mapping[str, Any],
    access: TarAccess,
) -> None:
    """Write under root a subset of a source of existing tars.

    places: (pairs,) ascending places in the source, or None for its first `about["pairs"]`. Rows of index.npy stand
    tar by tar, as virtual readers walk them; order_digest is of the identities in hash order, as for every subset.
    ManifestError where a tar is not the one that was indexed; DataError where a pair to copy cannot be read.
    """
    source, home = read_manifest(source_manifest, "source"), source_manifest.parent
    remedy = f"Delete {source_manifest} and run `snakemake --cores all {source_manifest}`."
    clear(root, "shards")
    beside = [entry for entry in source["files"] if entry["path"] in ("identities.txt", "index.npy")]
    verify_files(beside, home, remedy)
    pairs = about["pairs"]
    rows = np.load(home / "index.npy", mmap_mode="r")
    index = np.array(rows[:pairs] if places is None else rows[places])
    # By tar and offset: a structured sort by all fields would be many times slower.
    index = index[np.lexsort((index["offset"], index["shard"]))]
    verify_shards([source["shards"][number] for number in np.unique(index["shard"])], home, access.verify, remedy)
    if access.shard_size is None:
        index, shards = _list(root, home, source, index)
        form = {"is_in_place": True, "caption_key": source["caption_key"]}
    else:
        index, shards = _copy(root, name, PairReader.of_rows(source_manifest, source, index), access.shard_size)
        form = {"is_copied": True}
    write_index(root / "index.npy", index)
    files = ["index.npy"]
    if places is not None:
        write_index(root / "places.npy", np.asarray(places, np.int64))
        files.append("places.npy")
    digest = _order_digest(home / "identities.txt", pairs, places)
    write_subset_manifest(root, name, source, shards, files, digest, {**form, **about})


def _list(root: Path, home: Path, source: dict[str, Any], index: np.ndarray) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Link the tars that the index names; the index with their numbers here, and their entries."""
    index = index.copy()
    used, numbers, inside = np.unique(index["shard"], return_inverse=True, return_counts=True)
    index["shard"] = numbers
    shards = []
    for number, count in zip(used.tolist(), inside.tolist(), strict=True):
        entry = source["shards"][number]
        if not is_url(entry["path"]):
            # To the source's own link: where tars have moved, that one alone is made anew.
            symlink(home / entry["path"], root / entry["path"], is_relative=True)
        shards.append({**entry, "pairs": count})
    return index, shards


def _copy(root: Path, name: str, reader: PairReader, shard_size: int) -> tuple[np.ndarray, list[dict[str, Any]]]:
    """Write the pairs of a reader, in its order, into shards under root; their index, and the shards' entries."""
    index, shards = np.empty(reader.pairs, INDEX_DTYPE), []
    progress = Progress("copied", reader.pairs)
    for number, start in enumerate(range(0, reader.pairs, shard_size)):
        rows = range(start, min(start + shard_size, reader.pairs))
        path = root / shard_name(number)
        spans = write_tar(path, _samples(name, reader, rows))
        index["shard"][start : rows.stop] = number
        index["offset"][start : rows.stop], index["size"][start : rows.stop] = zip(*spans, strict=True)
        shards.append({**describe_file(path, root), "pairs": len(rows)})
        progress.add(len(rows))
    reader.close()
    return index, shards


def _samples(name: str, reader: PairReader, rows: range) -> Iterator[tuple[str, Members]]:
    """Image, caption and metadata of pairs. Keys are new ones: those of two tars may be the same."""
    for number in rows:
        try:
            image, caption, members = reader.read_sample(number)
        except UnreadablePair as error:
            raise DataError(f"data {name}: {error}. {reader.remedy}") from None
        kept = {extension: members[extension] for extension in (image, "json") if extension in members}
        yield f"{number:09d}", {**kept, "txt": caption}


def _order_digest(identities: Path, pairs: int, places: NDArray[np.int64] | None) -> str:
    """`pairs.order_digest` of a subset, line by line."""
    digest = hashlib.sha256()
    found = 0
    with open(identities, "rb") as lines:
        if places is None:
            for line in islice(lines, pairs):
                digest.update(line)
                found += 1
        else:
            for place, line in enumerate(lines):
                if found == len(places):
                    break
                if place == places[found]:
                    digest.update(line)
                    found += 1
    if found < pairs:
        raise DataError(f"{identities}: ends after {found} of {pairs} pairs. Delete the source's manifest.")
    return digest.hexdigest()
