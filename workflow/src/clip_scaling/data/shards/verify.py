"""Shards held against a manifest before they are used: sizes always, hashes of all or of a few drawn anew each time."""

from __future__ import annotations

import logging
import random
from pathlib import Path
from typing import Any

from ...records.files import verify_files
from .cache import is_url

log = logging.getLogger(__name__)
SAMPLED_SHARE = 0.05
"""Of the shards, at least one, where `verify` is `sample`."""


def verify_shards(shards: list[dict[str, Any]], home: Path, how: str, remedy: str) -> int:
    """Hold local shards against their entries; how many were hashed. ManifestError names the first that differs.

    how: size, sample or full. Shards at URLs are held against theirs by the cache, when they are fetched.
    """
    local = [entry for entry in shards if not is_url(entry["path"])]
    verify_files(local, home, remedy, hashes=False)
    if how == "size" or not local:
        return 0
    # Drawn from the system's entropy: a shard that was missed once is looked at another time.
    count = len(local) if how == "full" else max(1, round(SAMPLED_SHARE * len(local)))
    chosen = random.SystemRandom().sample(local, count)
    verify_files(chosen, home, remedy)
    log.info("verified_sizes=%d verified_hashes=%d", len(local), len(chosen))
    return len(chosen)
