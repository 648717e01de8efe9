"""A nested subset: the first pairs of a source."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...records.data import SourceManifest, SubsetCounts
from .in_place import AS_LISTS, TarAccess
from .write import Choice, write_choice


def write_subset(root: Path, name: str, source_manifest: Path, pairs: int, access: TarAccess = AS_LISTS) -> None:
    """Write the first `pairs` pairs of a source under root.

    DataError where the source has fewer pairs; others as of `write_choice`.
    """
    source = SourceManifest.read(source_manifest)
    if pairs > source.pairs:
        raise DataError(
            f"{pairs} pairs are asked for, source {source.name} has {source.pairs}",
            place=f"data {name}",
            remedy=f"Lower `data.{name}.pairs`, or admit more in `sources.{source.name}`.",
        )
    counts = SubsetCounts(source=source.pairs, kept=pairs, left_in_source=source.pairs - pairs)
    write_choice(root, name, source_manifest, Choice(counts), access)
