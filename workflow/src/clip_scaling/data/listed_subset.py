"""A subset of tars that stay as they are: a list of its pairs' places in them, nothing copied."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from ..manifests import describe_file, verify_files, write_json
from .remote import is_url
from .shards import clear, read_manifest, symlink, write_index
from .verify import verify_shards


def write_listed_subset(
    root: Path,
    name: str,
    source_manifest: Path,
    places: NDArray[np.int64] | None,
    about: Mapping[str, Any],
    verify: str,
) -> None:
    """Write under root the list of pairs of a source of existing tars.

    places: (pairs,) ascending places in the source, or None for its first `about["pairs"]`. Rows of index.npy stand
    tar by tar, as virtual readers walk them; order_digest is of the identities in hash order, as for every subset.
    verify: how tars are held against the source's manifest first: size, sample or full.
    ManifestError where a tar is not the one that was indexed.
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
    used, numbers, inside = np.unique(index["shard"], return_inverse=True, return_counts=True)
    index["shard"] = numbers
    shards = []
    for number, count in zip(used.tolist(), inside.tolist(), strict=True):
        entry = source["shards"][number]
        if not is_url(entry["path"]):
            # To the source's own link: where tars have moved, that one alone is made anew.
            symlink(home / entry["path"], root / entry["path"], is_relative=True)
        shards.append({**entry, "pairs": count})
    verify_shards(shards, root, verify, remedy)
    write_index(root / "index.npy", index)
    files = ["index.npy"]
    if places is not None:
        write_index(root / "places.npy", np.asarray(places, np.int64))
        files.append("places.npy")
    write_json(
        root / "manifest.json",
        {
            "kind": "subset",
            "format": 1,
            "name": name,
            "source": source["name"],
            "source_order_digest": source["order_digest"],
            "is_in_place": True,
            "caption_key": source["caption_key"],
            "shards": shards,
            "files": [describe_file(root / path, root) for path in files],
            "order_digest": _order_digest(home / "identities.txt", pairs, places),
            **about,
        },
    )


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
