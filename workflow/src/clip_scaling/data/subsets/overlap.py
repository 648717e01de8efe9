"""The pairs that two subsets share, from their files alone: by place where both are of one source, else by identity."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..shards.places import subset_places
from ..shards.write import read_manifest


@dataclass(frozen=True)
class Overlap:
    """Numbers of pairs. has_one_source: both were chosen from the same pairs in the same order."""

    pairs: tuple[int, int]
    shared: int
    has_one_source: bool

    @property
    def shares(self) -> tuple[float, float]:
        """What part of either subset the other one has, 0 to 1."""
        first, second = self.pairs
        return self.shared / first, self.shared / second


def overlap(first: Path, second: Path) -> Overlap:
    """Compare two subsets by their manifest.json. DataError where a file beside one of them is missing."""
    manifests = [read_manifest(path, "subset") for path in (first, second)]
    digests = {manifest["source_order_digest"] for manifest in manifests}
    if len(digests) == 1:
        found = np.intersect1d(subset_places(first), subset_places(second), assume_unique=True)
    else:
        found = np.intersect1d(_identities(first), _identities(second), assume_unique=True)
    return Overlap((manifests[0]["pairs"], manifests[1]["pairs"]), len(found), len(digests) == 1)


def _identities(manifest: Path) -> NDArray[np.void]:
    """(pairs, ) 16 bytes of sha256 of each identity: a tenth of the memory of the text, and as good to compare."""
    subset = read_manifest(manifest, "subset")
    path = manifest.parent.parent / subset["source"] / "identities.txt"
    places = subset_places(manifest)
    digests = np.empty(len(places), "V16")
    found = 0
    try:
        with open(path, encoding="utf-8") as lines:
            for place, line in enumerate(lines):
                if found == len(places):
                    break
                if place == places[found]:
                    digests[found] = hashlib.sha256(line.rstrip("\n").encode()).digest()[:16]
                    found += 1
    except FileNotFoundError:
        raise DataError(
            f"{path}: no such file. Run `snakemake --cores all {path.with_name('manifest.json')}` to make it."
        ) from None
    if found < len(places):
        raise DataError(f"{path}: ends after {found} of {len(places)} pairs. Delete {path.with_name('manifest.json')}.")
    return digests
