"""A subset of chosen pairs: none that repeats another, a given share with a coloured image.

Each is the first in hash order that may be taken. Two such subsets of one source share its evaluation sets and its
tokenizer, and differ in what training sees alone.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ImageChops

from ...errors import DataError
from ...records.data import DroppedDuplicates, SourceManifest, SubsetCounts
from ...records.filenames import FINGERPRINTS
from ..duplicates.count import REASONS, reasons_to_leave
from ..shards.read import PairReader, UnreadablePair, decode_image
from ..shards.verify import verify_before_reading
from .in_place import AS_LISTS, TarAccess
from .write import Choice, write_choice

log = logging.getLogger(__name__)
COLOUR_TOLERANCE = 16
"""An image is coloured where two channels of one pixel differ by more than this, of 255: compression alone does not."""


@dataclass(frozen=True)
class Repeats:
    """Repeats to drop. within, against: distances in bits of the perceptual hash, None where such repeats stay.

    training: fingerprints of the source, in its order. evaluation: of evaluation sets, by name.
    """

    within: int | None
    against: int | None
    training: np.ndarray
    evaluation: Mapping[str, np.ndarray]

    def reasons(self, source_manifest: Path, pairs: int) -> NDArray[np.uint8]:
        """Decide on a source's pairs: (pairs,) numbers of REASONS. DataError if the fingerprints are of other pairs."""
        if len(self.training) != pairs:
            path = source_manifest.with_name(FINGERPRINTS)
            raise DataError(
                f"{len(self.training)} rows for {pairs} pairs",
                place=str(path),
                remedy=f"Delete it and run `snakemake --cores all {path}`.",
            )
        return reasons_to_leave(self.training, self.evaluation, self.within, self.against)


def is_coloured(content: bytes) -> bool:
    """Whether an encoded image has a pixel that is no shade of grey. UnreadablePair where it is no image."""
    red, green, blue = decode_image(content).split()
    pairs = ((red, green), (green, blue), (red, blue))
    return any(max(np.ravel(ImageChops.difference(*pair).getextrema())) > COLOUR_TOLERANCE for pair in pairs)


def coloured_pairs(pairs: int, share: float) -> int:
    """Number of coloured ones among `pairs`. It is rounded down, so that a smaller subset lies within a larger one."""
    return int(pairs * share + 1e-9)


def choose_coloured(
    reader: PairReader, name: str, candidates: NDArray[np.int64], pairs: int, share: float
) -> NDArray[np.int64]:
    """Choose the first of the candidates (places in the source) of each kind: (pairs,), ascending.

    The source is read only as far as is needed. DataError where there are too few of a kind.
    """
    wanted = {True: coloured_pairs(pairs, share)}
    wanted[False] = pairs - wanted[True]
    found: dict[bool, list[int]] = {True: [], False: []}
    for place in candidates.tolist():
        if all(len(found[kind]) == wanted[kind] for kind in found):
            break
        try:
            kind = is_coloured(reader.read(place)[0])
        except UnreadablePair as error:  # as in training: another one takes its place
            log.warning(f"data {name}: {error}: it is left out")
            continue
        if len(found[kind]) < wanted[kind]:
            found[kind].append(place)
    for kind, word in ((True, "coloured"), (False, "colourless")):
        if len(found[kind]) < wanted[kind]:
            raise DataError(
                f"{wanted[kind]} {word} pairs are asked for, its source has {len(found[kind])}",
                place=f"data {name}",
                remedy=f"Lower `data.{name}.pairs`, or change its `coloured_share`.",
            )
    return np.array(sorted(found[True] + found[False]))


def write_composed_subset(
    root: Path,
    name: str,
    source_manifest: Path,
    pairs: int,
    coloured_share: float | None = None,
    repeats: Repeats | None = None,
    access: TarAccess = AS_LISTS,
) -> None:
    """Write under root the first `pairs` pairs of a source that are no repeats, `coloured_share` of them coloured.

    None: no such condition. What is dropped is counted by reason, as far as the source was needed.
    DataError where the source has too few; others as of `write_choice`.
    """
    source = SourceManifest.read(source_manifest)
    reasons = np.zeros(source.pairs, np.uint8)
    counts: dict[str, Any] = {}
    conditions: dict[str, Any] = {}
    if repeats is not None:
        reasons = repeats.reasons(source_manifest, source.pairs)
        conditions["drop_duplicates"] = DroppedDuplicates(within=repeats.within, evaluation=repeats.against)
    candidates = np.flatnonzero(reasons == 0)
    if coloured_share is None:
        if pairs > len(candidates):
            raise DataError(
                f"{pairs} pairs are asked for, source {source.name} has {len(candidates)} of {source.pairs} without "
                "repeats",
                place=f"data {name}",
                remedy=f"Lower `data.{name}.pairs` or the distances of its `drop_duplicates`.",
            )
        places = candidates[:pairs]
    else:
        verify_before_reading(source, source_manifest)
        with PairReader.open(source_manifest) as reader:
            places = choose_coloured(reader, name, candidates, pairs, coloured_share)
        coloured = coloured_pairs(pairs, coloured_share)
        conditions["coloured_share"] = coloured_share
        counts |= {"coloured": coloured, "colourless": pairs - coloured}
    passed = Counter(reasons[: places[-1] + 1].tolist())
    dropped = {REASONS[number]: passed[number] for number in range(1, len(REASONS)) if passed[number]}
    if repeats is not None:
        counts["dropped"] = dropped
    left = source.pairs - pairs - sum(dropped.values())
    balance = SubsetCounts(source=source.pairs, kept=pairs, left_in_source=left, **counts)
    write_choice(root, name, source_manifest, Choice(balance, places, conditions), access)
