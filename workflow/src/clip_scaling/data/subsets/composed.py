"""Which pairs of a source make a subset: none that repeats another, so many with a coloured image, so many without.

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
from ...records.files import verify_files
from ..duplicates.count import REASONS, reasons_to_leave
from ..shards.read import PairReader, UnreadablePair, decode_image
from ..shards.verify import verify_shards
from ..shards.write import read_manifest
from .in_place import AS_LISTS, TarAccess
from .prefix import write_chosen_subset

log = logging.getLogger(__name__)
COLOUR_TOLERANCE = 16
"""An image is coloured where two channels of one pixel differ by more than this, of 255: compression alone does not."""


@dataclass(frozen=True)
class Repeats:
    """What is dropped as a repeat: distances in bits of the perceptual hash, None where such repeats stay.

    training: fingerprints of the source, in its order. evaluation: of evaluation sets, by name.
    """

    within: int | None
    against: int | None
    training: np.ndarray
    evaluation: Mapping[str, np.ndarray]


def is_coloured(content: bytes) -> bool:
    """Whether an encoded image has a pixel that is no shade of grey. UnreadablePair where it is no image."""
    red, green, blue = decode_image(content).split()
    pairs = ((red, green), (green, blue), (red, blue))
    return any(max(np.ravel(ImageChops.difference(*pair).getextrema())) > COLOUR_TOLERANCE for pair in pairs)


def coloured_pairs(pairs: int, share: float) -> int:
    """How many of `pairs` are coloured: the share, rounded down, so that a smaller subset lies within a larger one."""
    return int(pairs * share + 1e-9)


def choose_coloured(
    reader: PairReader, name: str, candidates: NDArray[np.int64], pairs: int, share: float
) -> NDArray[np.int64]:
    """The first of the candidates (places in the source) of each kind, ascending, (pairs,).

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
                f"data {name}: {wanted[kind]} {word} pairs are asked for, its source has {len(found[kind])}. "
                f"Lower `data.{name}.pairs`, or change its `coloured_share`."
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
    DataError where the source has too few; ManifestError where one of its files differs from its manifest.
    """
    source, home = read_manifest(source_manifest, "source"), source_manifest.parent
    about: dict[str, Any] = {"counts": {}}
    reasons = np.zeros(source["pairs"], np.uint8)
    if repeats is not None:
        if len(repeats.training) != source["pairs"]:
            fingerprints = home / "fingerprints.npy"
            raise DataError(
                f"{fingerprints}: {len(repeats.training)} rows for {source['pairs']} pairs. Delete it and run "
                f"`snakemake --cores all {fingerprints}`."
            )
        reasons = reasons_to_leave(repeats.training, repeats.evaluation, repeats.within, repeats.against)
        about["drop_duplicates"] = {"within": repeats.within, "evaluation": repeats.against}
    candidates = np.flatnonzero(reasons == 0)
    if coloured_share is None:
        if pairs > len(candidates):
            raise DataError(
                f"data {name}: {pairs} pairs are asked for, source {source['name']} has {len(candidates)} of "
                f"{source['pairs']} without repeats. Lower `data.{name}.pairs` or the distances of its "
                "`drop_duplicates`."
            )
        places = candidates[:pairs]
    else:
        remedy = f"Delete {source_manifest} and run `snakemake --cores all {source_manifest}`."
        if source.get("is_in_place"):
            verify_shards(source["shards"], home, "size", remedy)  # by their hashes when the subset is listed
        else:
            verify_files(source["shards"], home, remedy)
        reader = PairReader(source_manifest, kind="source")
        try:
            places = choose_coloured(reader, name, candidates, pairs, coloured_share)
        finally:
            reader.close()
        coloured = coloured_pairs(pairs, coloured_share)
        about["coloured_share"] = coloured_share
        about["counts"] |= {"coloured": coloured, "colourless": pairs - coloured}
    passed = Counter(reasons[: places[-1] + 1].tolist())
    dropped = {REASONS[number]: passed[number] for number in range(1, len(REASONS)) if passed[number]}
    left = source["pairs"] - pairs - sum(dropped.values())
    about["counts"] |= {"source": source["pairs"], "kept": pairs, "left_in_source": left}
    if repeats is not None:
        about["counts"]["dropped"] = dropped
    write_chosen_subset(root, name, source_manifest, places, about, access)
