"""Write a subset: chosen pairs of a source as linked, copied or listed shards, their index, and the manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...records.data import SourceManifest, SubsetCounts, SubsetManifest
from ...records.filenames import IDENTITIES, INDEX, MANIFEST, PLACES
from ...records.files import FileEntry, remake, verify_files
from ..shards.verify import verify_shards
from ..shards.write import clear, write_array
from .in_place import AS_LISTS, TarAccess, copy_pairs, list_pairs
from .own_shards import copy_shards, link_shards
from .places import identities_at


@dataclass(frozen=True)
class Choice:
    """Pairs of a source that make a subset.

    counts: the balance. places: (pairs,) ascending; None: the first pairs. conditions: what the manifest says of the
    choice, `coloured_share` and `drop_duplicates`.
    """

    counts: SubsetCounts
    places: NDArray[np.int64] | None = None
    conditions: Mapping[str, Any] = field(default_factory=dict)

    @property
    def pairs(self) -> int:
        """Number of pairs."""
        return self.counts.kept


def write_choice(root: Path, name: str, source_manifest: Path, choice: Choice, access: TarAccess = AS_LISTS) -> None:
    """Write the chosen pairs of a source under root.

    Of own shards, first pairs are linked and cut, others copied. Existing tars are listed or copied as `access` says;
    their pairs then stand tar by tar. order_digest is of the identities in hash order, for every subset.
    ManifestError where a file of the source differs from its manifest; DataError where a pair to copy cannot be read.
    """
    source, home = SourceManifest.read(source_manifest), source_manifest.parent
    clear(root, "shards")
    remedy = remake(source_manifest)
    verify_files([entry for entry in source.files if entry.path in (IDENTITIES, INDEX)], home, remedy)
    all_rows = np.load(home / INDEX, mmap_mode="r")
    rows = all_rows[: choice.pairs] if choice.places is None else all_rows[choice.places]
    how = access.verify if source.is_in_place else "full"
    verify_shards([source.shards[number] for number in np.unique(rows["shard"])], home, how, remedy)
    form: dict[str, Any] = {}
    if not source.is_in_place:
        take = link_shards if choice.places is None else copy_shards
        shards = take(root, home, source, rows)
    elif access.shard_size is None:
        shards = list_pairs(root, home, source, rows)
        form = {"is_in_place": True, "caption_key": source.caption_key}
    else:
        shards = copy_pairs(root, source_manifest, source, rows, access.shard_size)
        form = {"is_copied": True}
    files = [INDEX]
    if choice.places is not None:
        write_array(root / PLACES, np.asarray(choice.places, np.int64))
        files.append(PLACES)
    digest = hashlib.sha256()
    for line in identities_at(home / IDENTITIES, choice.pairs, choice.places):
        digest.update(line)
    SubsetManifest(
        name=name,
        source=source.name,
        source_order_digest=source.order_digest,
        pairs=choice.pairs,
        counts=choice.counts,
        shards=shards,
        files=[FileEntry.of(root / path, root) for path in files],
        order_digest=digest.hexdigest(),
        **form,
        **choice.conditions,
    ).write(root / MANIFEST)
