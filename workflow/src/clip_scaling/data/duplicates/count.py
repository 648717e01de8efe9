"""Count, and choose to leave out, images of a training set that repeat an earlier one or that an evaluation set shows.

Equal bytes are one kind of repeat; a perceptual hash within a distance, in bits of 64, is the other (`search.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ...records.data import DuplicateCounts, RepeatCounts, ShownImages
from .fingerprints import COMPARABLE, PLAIN, UNREADABLE
from .search import Hashes, NearPairs, keep_first, near_pairs

Mask = NDArray[np.bool_]
DISTANCES = (0, 2, 4, 6, 8)
"""Bits at which repeats are counted."""
STAYS = "stays"
REASONS = (STAYS, "equals_evaluation_image", "near_evaluation_image", "equals_earlier_image", "near_earlier_image")
"""Fates of a pair, by number. An image that two reasons drop is counted under the first."""


@dataclass(frozen=True)
class HashIndex:
    """Distinct hashes and all near pairs of them.

    hashes: (m,) ascending. pairs: of places in it, those within `distance`.
    """

    hashes: Hashes
    pairs: NearPairs
    distance: int

    @classmethod
    def of(cls, hashes: list[Hashes], distance: int) -> HashIndex:
        """Search the hashes of several tables. DataError where too many are alike."""
        distinct = np.unique(np.concatenate(hashes))
        return cls(distinct, near_pairs(distinct, distance), distance)

    def _pairs(self, distance: int) -> NearPairs:
        return self.pairs.where(self.pairs.distance <= distance)

    def near(self, rows: Hashes, others: Hashes, distance: int) -> Mask:
        """(len(rows),) mask of the rows within the distance of any of the others."""
        is_other = np.zeros(len(self.hashes), np.bool_)
        is_other[np.searchsorted(self.hashes, others)] = True
        is_near, pairs = is_other.copy(), self._pairs(distance)
        is_near[pairs.first[is_other[pairs.second]]] = True
        is_near[pairs.second[is_other[pairs.first]]] = True
        return is_near[np.searchsorted(self.hashes, rows)]

    def first_of_each(self, rows: Hashes, distance: int) -> Mask:
        """(len(rows),) mask of the rows that stay: a row leaves if an earlier one that stays is within the distance."""
        places, first = np.unique(np.searchsorted(self.hashes, rows), return_index=True)
        order = np.argsort(first)
        rank = np.full(len(self.hashes), -1)
        rank[places[order]] = np.arange(len(places))  # by its first appearance among the rows; -1: not there
        pairs = self._pairs(distance)
        pairs = pairs.where((rank[pairs.first] >= 0) & (rank[pairs.second] >= 0))
        one, two = rank[pairs.first], rank[pairs.second]
        stays = keep_first(len(places), NearPairs(np.minimum(one, two), np.maximum(one, two), pairs.distance))
        found = np.zeros(len(rows), np.bool_)
        found[first[order][stays]] = True
        return found


def _first_of_equal(contents: Hashes) -> Mask:
    found = np.zeros(len(contents), np.bool_)
    found[np.unique(contents, return_index=True)[1]] = True
    return found


def reasons_to_leave(
    training: np.ndarray, evaluation: Mapping[str, np.ndarray], within: int | None, against: int | None
) -> NDArray[np.uint8]:
    """Decide on each pair of a source, in hash order, by the pairs before it alone: (n,) numbers of REASONS.

    training, evaluation: fingerprints. within: largest distance to an earlier image; null: repeats stay. against:
    largest distance to an image of an evaluation set; null likewise. DataError where too many images are alike.
    """
    reason = np.zeros(len(training), np.uint8)
    is_readable, is_comparable = training["state"] != UNREADABLE, training["state"] == COMPARABLE
    tables = [training, *(evaluation.values() if against is not None else ())]
    hashes = [rows["phash"][rows["state"] == COMPARABLE] for rows in tables]
    index = HashIndex.of(hashes, max(distance for distance in (within, against, 0) if distance is not None))
    if against is not None:
        for rows in evaluation.values():
            is_equal = np.isin(training["content"], rows["content"][rows["state"] != UNREADABLE]) & is_readable
            reason[is_equal] = 1
        others = np.concatenate([np.empty(0, np.uint64), *hashes[1:]])
        is_near = np.zeros(len(training), np.bool_)
        is_near[is_comparable] = index.near(hashes[0], others, against)
        reason[is_near & (reason == 0)] = 2
    if within is not None:
        left = np.flatnonzero((reason == 0) & is_readable)
        reason[left[~_first_of_equal(training["content"][left])]] = 3
        left = np.flatnonzero((reason == 0) & is_comparable)
        reason[left[~index.first_of_each(training["phash"][left], within)]] = 4
    return reason


def count_duplicates(training: np.ndarray, evaluation: Mapping[str, np.ndarray]) -> DuplicateCounts:
    """Count the images of a training set that repeat an earlier one, and those of each evaluation set that it shows.

    training, evaluation: fingerprints. Near ones are counted at each of DISTANCES, with those of equal bytes among
    them; None at a distance at which too many images are alike to be searched.
    """
    tables = {"": training, **evaluation}
    hashes = {name: rows["phash"][rows["state"] == COMPARABLE] for name, rows in tables.items()}
    index = _widest_index(list(hashes.values()))
    equal = training["content"][training["state"] != UNREADABLE]
    own = hashes[""]

    def by_distance(count: Any) -> dict[str, int | None]:
        return {str(bits): int(count(bits)) if bits <= index.distance else None for bits in DISTANCES}

    def shown(name: str, rows: np.ndarray) -> ShownImages:
        readable = rows["content"][rows["state"] != UNREADABLE]
        return ShownImages(
            images=len(rows),
            plain_images=int(np.count_nonzero(rows["state"] == PLAIN)),
            equal_bytes=int(np.count_nonzero(np.isin(readable, equal))),
            near_by_bits=by_distance(lambda bits: np.count_nonzero(index.near(hashes[name], own, bits))),
        )

    return DuplicateCounts(
        pairs=len(training),
        plain_images=int(np.count_nonzero(training["state"] == PLAIN)),
        unreadable_images=int(np.count_nonzero(training["state"] == UNREADABLE)),
        repeat_an_earlier_image=RepeatCounts(
            equal_bytes=len(equal) - len(np.unique(equal)),
            near_by_bits=by_distance(lambda bits: np.count_nonzero(~index.first_of_each(own, bits))),
        ),
        evaluation_images_in_training={name: shown(name, rows) for name, rows in sorted(evaluation.items())},
    )


def _widest_index(hashes: list[Hashes]) -> HashIndex:
    for distance in reversed(DISTANCES[1:]):
        try:
            return HashIndex.of(hashes, distance)
        except DataError:
            continue  # too many images are alike at this distance: counted at the smaller ones
    return HashIndex.of(hashes, 0)
