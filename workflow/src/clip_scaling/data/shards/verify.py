"""Check shards against a manifest before use: sizes always, hashes of all or of a few, drawn each time."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path

from ...records.data import EvaluationSetManifest, SourceManifest, SubsetManifest, read_any_manifest
from ...records.files import FileEntry, remake, verify_files
from .opening import is_url

log = logging.getLogger(__name__)
SAMPLED_SHARE = 0.05
"""Of the shards, at least one, where `verify` is `sample`."""


def verify_shards(shards: Sequence[FileEntry], home: Path, how: str, remedy: str) -> int:
    """Compare local shards with their entries; how many were hashed. ManifestError names the first that differs.

    how: size, sample or full. The cache compares shards at URLs when it fetches them.
    """
    local = [entry for entry in shards if not is_url(entry.path)]
    verify_files(local, home, remedy, hashes=False)
    if how == "size" or not local:
        return 0
    # Drawn from the system's entropy: a shard that was missed once is looked at another time.
    count = max(1, round(SAMPLED_SHARE * len(local)))
    chosen = local if how == "full" else random.SystemRandom().sample(local, count)
    verify_files(chosen, home, remedy)
    log.info("verified_sizes=%d verified_hashes=%d", len(local), len(chosen))
    return len(chosen)


def verify_before_reading(manifest: SourceManifest | SubsetManifest, path: Path) -> None:
    """Compare the shards of a data set with its manifest at `path`, before all of them are read.

    Existing tars by size alone: their hashes were compared when the subset was listed. ManifestError names the first
    that differs.
    """
    verify_shards(manifest.shards, path.parent, "size" if manifest.is_in_place else "full", remake(path))


def verify_data_set(path: Path) -> tuple[int, int]:
    """Compare all files of a data set with its manifest, by size and sha256.

    Returns: (number of files that agree, number of shards at URLs, which are not read).
    ManifestError names the first file that differs.
    """
    files, home, remote = listed_files(path)
    verify_files(files, home, remake(path))
    return len(files), remote


def listed_files(path: Path) -> tuple[list[FileEntry], Path, int]:
    """The files on disk that a manifest lists, the folder that they lie in, and the number of shards at URLs."""
    manifest = read_any_manifest(path)
    home = manifest.home(path) if isinstance(manifest, EvaluationSetManifest) else path.parent
    shards = manifest.shards if isinstance(manifest, SourceManifest | SubsetManifest) else []
    local = [entry for entry in shards if not is_url(entry.path)]
    return [*manifest.files, *local], home, len(shards) - len(local)
