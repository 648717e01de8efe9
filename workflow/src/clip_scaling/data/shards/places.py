"""Where the pairs of a subset stand in its source."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ...errors import DataError
from .write import read_manifest


def subset_places(manifest_path: Path) -> np.ndarray:
    """(pairs,) places in its source of a subset's pairs, ascending: the first ones, unless places.npy says otherwise.

    DataError for a subset whose places were not recorded.
    """
    manifest = read_manifest(manifest_path, "subset")
    if any(entry["path"] == "places.npy" for entry in manifest["files"]):
        return np.load(manifest_path.parent / "places.npy", mmap_mode="r")
    if "coloured" in manifest["counts"]:
        raise DataError(
            f"{manifest_path}: of an earlier version. Delete it and run `snakemake --cores all {manifest_path}`."
        )
    return np.arange(manifest["pairs"])
