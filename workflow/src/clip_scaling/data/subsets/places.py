"""Places of a subset's pairs in its source, and the identities that stand there."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import compress, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...records.data import SubsetManifest
from ...records.filenames import MANIFEST, PLACES
from ...records.files import remake, verify_files


def subset_places(manifest_path: Path) -> NDArray[np.int64]:
    """(pairs,) places of a subset's pairs in its source, ascending: the first ones, unless there is a places.npy.

    DataError for a subset whose places were not recorded; ManifestError where they are not those of its manifest.
    """
    manifest = SubsetManifest.read(manifest_path)
    listed = [entry for entry in manifest.files if entry.path == PLACES]
    if listed:
        verify_files(listed, manifest_path.parent, remake(manifest_path))
        return np.load(manifest_path.with_name(PLACES), mmap_mode="r")
    if manifest.counts.coloured is not None:
        raise DataError(
            "of an earlier version",
            place=str(manifest_path),
            remedy=f"Delete it and run `snakemake --cores all {manifest_path}`.",
        )
    return np.arange(manifest.pairs)


def identities_at(path: Path, pairs: int, places: NDArray[np.int64] | None = None) -> Iterator[bytes]:
    """Yield identities of a source, each with its line break, without keeping the file in memory.

    path: identities.txt. places: (pairs,) ascending; None: the first `pairs`. DataError where the file is missing or
    too short.
    """
    found = 0
    manifest = path.with_name(MANIFEST)
    try:
        with open(path, "rb") as lines:
            for line in compress(lines, repeat(1, pairs) if places is None else _mask(places)):
                found += 1
                yield line
    except FileNotFoundError:
        remedy = f"Run `snakemake --cores all {manifest}` to make it."
        raise DataError("no such file", place=str(path), remedy=remedy) from None
    if found < pairs:
        raise DataError(f"ends after {found} of {pairs} pairs", place=str(path), remedy=f"Delete {manifest}.")


def _mask(places: NDArray[np.int64]) -> bytes:
    """A byte for every place up to the last one: 1 where it is chosen."""
    chosen = np.zeros(places[-1] + 1, np.uint8)
    chosen[places] = 1
    return chosen.tobytes()
