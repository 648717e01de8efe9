"""A nested subset: pairs of a source in its order, the first ones or chosen ones, in shards of its own."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...records.files import atomic_path, describe_file, verify_files
from ..shards.write import (
    INDEX_DTYPE,
    clear,
    copy_prefix,
    link_or_copy,
    read_manifest,
    shard_name,
    write_index,
    write_subset_manifest,
)
from ..sources.pairs import order_digest
from .in_place import AS_LISTS, TarAccess, write_tar_subset


def write_subset(root: Path, name: str, source_manifest: Path, pairs: int, access: TarAccess = AS_LISTS) -> None:
    """Write the first `pairs` pairs of a source under root: whole shards are linked, the last one is cut.

    DataError where the source has fewer pairs; ManifestError where a shard it needs differs from its manifest.
    """
    source, home = read_manifest(source_manifest, "source"), source_manifest.parent
    if pairs > source["pairs"]:
        raise DataError(
            f"data {name}: {pairs} pairs are asked for, source {source['name']} has {source['pairs']}. "
            f"Lower `data.{name}.pairs`, or admit more in `sources.{source['name']}`."
        )
    if source.get("is_in_place"):
        counts = {"source": source["pairs"], "kept": pairs, "left_in_source": source["pairs"] - pairs}
        write_tar_subset(root, name, source_manifest, None, {"counts": counts, "pairs": pairs}, access)
        return
    identities = _begin(root, source, source_manifest)[:pairs]
    index = np.load(home / "index.npy")[:pairs]
    used = source["shards"][: int(index["shard"][-1]) + 1]
    verify_files(used, home, _remedy(source_manifest))
    shards = []
    for number, entry in enumerate(used):
        inside = int(np.count_nonzero(index["shard"] == number))
        path = root / shard_name(number)
        if inside == entry["pairs"]:
            link_or_copy(home / entry["path"], path)
        else:
            copy_prefix(home / entry["path"], path, int(index["offset"][-1] + index["size"][-1]))
        shards.append({**describe_file(path, root), "pairs": inside})
    write_index(root / "index.npy", index)
    counts = {"source": source["pairs"], "kept": pairs, "left_in_source": source["pairs"] - pairs}
    about = {"pairs": pairs, "counts": counts}
    write_subset_manifest(root, name, source, shards, ["index.npy"], order_digest(identities), about)


def write_chosen_subset(
    root: Path,
    name: str,
    source_manifest: Path,
    places: np.ndarray,
    about: Mapping[str, Any],
    access: TarAccess = AS_LISTS,
) -> None:
    """Write pairs of a source, chosen by their places in it, under root: shards of its size, filled in order.

    places: (pairs,) ascending. about: what the manifest says of the choice, `counts` among it.
    ManifestError where a file of the source differs from its manifest.
    """
    source, home = read_manifest(source_manifest, "source"), source_manifest.parent
    if source.get("is_in_place"):
        write_tar_subset(root, name, source_manifest, places, {**about, "pairs": len(places)}, access)
        return
    identities = _begin(root, source, source_manifest)
    rows = np.load(home / "index.npy", mmap_mode="r")[places]
    verify_files([source["shards"][number] for number in np.unique(rows["shard"])], home, _remedy(source_manifest))
    shard_size = source["recipe"]["shard_size"]
    index, shards = np.empty(len(rows), INDEX_DTYPE), []
    for number, start in enumerate(range(0, len(rows), shard_size)):
        part = slice(start, start + shard_size)
        path = root / shard_name(number)
        index["offset"][part] = _copy_spans(home, source["shards"], rows[part], path)
        index["size"][part] = rows["size"][part]
        index["shard"][part] = number
        shards.append({**describe_file(path, root), "pairs": len(rows[part])})
    write_index(root / "index.npy", index)
    write_index(root / "places.npy", np.asarray(places, np.int64))
    chosen = [identities[place] for place in places]
    about = {**about, "pairs": len(chosen)}
    write_subset_manifest(root, name, source, shards, ["index.npy", "places.npy"], order_digest(chosen), about)


def _remedy(source_manifest: Path) -> str:
    return f"Delete {source_manifest} and run `snakemake --cores all {source_manifest}`."


def _begin(root: Path, source: dict[str, Any], source_manifest: Path) -> list[str]:
    """Clear the folder and verify what lies beside the source's shards; returns its identities, in order."""
    clear(root, "shards")
    home = source_manifest.parent
    beside = [entry for entry in source["files"] if entry["path"] in ("identities.txt", "index.npy")]
    verify_files(beside, home, _remedy(source_manifest))
    return (home / "identities.txt").read_text(encoding="utf-8").splitlines()


def _copy_spans(home: Path, shards: list[dict[str, str]], rows: np.ndarray, target: Path) -> list[int]:
    """Write whole samples of a source's tars, one after the other, as a tar; the offset of each in it."""
    offsets = []
    with atomic_path(target) as temporary, open(temporary, "wb") as tar:
        for number in dict.fromkeys(rows["shard"].tolist()):  # ascending: places are
            with open(home / shards[number]["path"], "rb") as whole:
                for row in rows[rows["shard"] == number]:
                    whole.seek(int(row["offset"]))
                    offsets.append(tar.tell())
                    tar.write(whole.read(int(row["size"])))
        # A tar ends with two empty blocks, padded to a whole record.
        end = tar.tell() + 2 * tarfile.BLOCKSIZE
        tar.write(bytes(-(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE - tar.tell()))
    return offsets
