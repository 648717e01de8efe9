"""A nested subset: the first pairs of a source, in shards of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import DataError
from ..manifests import describe_file, verify_files, write_json
from .pairs import order_digest
from .shards import clear, copy_prefix, link_or_copy, read_manifest, shard_name, write_index


def write_subset(root: Path, name: str, source_manifest: Path, pairs: int) -> None:
    """Write the first `pairs` pairs of a source under root: whole shards are linked, the last one is cut.

    DataError where the source has fewer pairs; ManifestError where a shard it needs differs from its manifest.
    """
    source, home = read_manifest(source_manifest, "source"), source_manifest.parent
    if pairs > source["pairs"]:
        raise DataError(
            f"data {name}: {pairs} pairs are asked for, source {source['name']} has {source['pairs']}. "
            f"Lower `data.{name}.pairs`, or admit more in `sources.{source['name']}`."
        )
    remedy = f"Delete {source_manifest} and run `snakemake {source_manifest}`."
    clear(root, "shards")
    beside = [entry for entry in source["files"] if entry["path"] in ("identities.txt", "index.npy")]
    verify_files(beside, home, remedy)
    index = np.load(home / "index.npy")[:pairs]
    identities = (home / "identities.txt").read_text(encoding="utf-8").splitlines()[:pairs]
    used = source["shards"][: int(index["shard"][-1]) + 1]
    verify_files(used, home, remedy)
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
    write_json(
        root / "manifest.json",
        {
            "kind": "subset",
            "format": 1,
            "name": name,
            "source": source["name"],
            "source_order_digest": source["order_digest"],
            "pairs": pairs,
            "shards": shards,
            "files": [describe_file(root / "index.npy", root)],
            "order_digest": order_digest(identities),
            "counts": {"source": source["pairs"], "kept": pairs, "left_in_source": source["pairs"] - pairs},
        },
    )
