"""All pairs of 64-bit hashes within a Hamming distance, without comparing each with each.

Bits are cut into bands. Two hashes that differ in at most d of them agree in all but d bands, so for each choice of
(bands - d) bands the hashes are sorted by these, and only those of equal key are compared (Manku, Jain and Das Sarma
2007, "Detecting near-duplicates for web crawling"). Nothing is missed. The number of bands follows from the number of
hashes, so that keys are more than hashes: the work is then that of the sorts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from math import comb

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError

Hashes = NDArray[np.uint64]
Places = NDArray[np.int64]

MAX_DISTANCE = 16
MAX_PAIRS = 50_000_000
"""More pairs than these take gigabytes, and show that the hashes separate their images too little."""
_CACHED = 1 << 19
"""Hashes that are searched in one piece: 4 MB."""
MAX_COMPARED = 20_000_000_000
"""Likewise: some minutes of comparisons. Random hashes need fewer up to some ten millions of them."""


@dataclass(frozen=True)
class NearPairs:
    """Pairs of near hashes. first < second: places of two hashes, (n,). distance: bits in which they differ, (n,)."""

    first: Places
    second: Places
    distance: NDArray[np.uint8]

    def where(self, chosen: NDArray[np.bool_]) -> NearPairs:
        """Keep some of the pairs. chosen: (n,) mask."""
        return NearPairs(self.first[chosen], self.second[chosen], self.distance[chosen])


def near_pairs(hashes: Hashes, distance: int) -> NearPairs:
    """Find every two places whose hashes differ in at most `distance` bits, ordered by the second, then the first.

    hashes: (n,), distinct: of equal ones hand over one. DataError for a distance above MAX_DISTANCE and beyond
    MAX_PAIRS.
    """
    if not 0 <= distance <= MAX_DISTANCE:
        raise DataError(f"distance {distance}: perceptual hashes are compared within 0 to {MAX_DISTANCE} bits")
    found = [(np.empty(0, np.int64), np.empty(0, np.int64))]
    pairs = 0
    for one, other in _search(hashes, distance) if len(hashes) > 1 else ():
        pairs += len(one)
        if pairs > MAX_PAIRS:
            raise _too_alike(hashes, distance)
        found.append((one, other))
    one, other = (np.concatenate(side) for side in zip(*found, strict=True))
    first, second = np.minimum(one, other), np.maximum(one, other)
    order = np.lexsort((first, second))
    first, second = first[order], second[order]
    return NearPairs(first, second, np.bitwise_count(hashes[first] ^ hashes[second]))


def _too_alike(hashes: Hashes, distance: int) -> DataError:
    return DataError(
        f"too many pairs of {len(hashes):,} perceptual hashes are within {distance} bits, or nearly: they "
        "separate these images too little",
        remedy="Choose a smaller distance.",
    )


def _search(hashes: Hashes, distance: int) -> Iterator[tuple[Places, Places]]:
    """Yield pairs of places within the distance, each once. DataError beyond MAX_COMPARED."""
    bands = _bands(distance, len(hashes))
    masks = [_mask(band) for band in bands]
    compared = 0
    for first in range(distance + 1):
        later = range(first + 1, len(bands))
        for group, places, bits in _groups(hashes, bands[first]):
            for others in combinations(later, len(bands) - distance - 1):
                choice = (first, *others)
                same = masks[first] | _mask([bit for number in others for bit in bands[number]])
                # A pair that agrees in other bands too is found by several choices: the first of them keeps it.
                apart = [masks[number] for number in range(choice[-1]) if number not in choice]
                key = [*bits, *(bit for number in others for bit in bands[number])]
                for one, two in _same_key(_sorted_keys(group, key), len(group)):
                    compared += len(one)
                    if compared > MAX_COMPARED:
                        raise _too_alike(hashes, distance)
                    differing = group[one] ^ group[two]
                    is_kept = (np.bitwise_count(differing) <= distance) & (differing & same == 0)
                    one, two, differing = one[is_kept], two[is_kept], differing[is_kept]
                    for mask in apart:
                        is_kept = differing & mask != 0
                        one, two, differing = one[is_kept], two[is_kept], differing[is_kept]
                    if len(one):
                        yield places[one], places[two]


def _groups(hashes: Hashes, band: list[int]) -> Iterator[tuple[Hashes, Places, list[int]]]:
    """Yield hashes that may agree in the band, their places, and the bits of the band that are still to be compared.

    Few hashes are one group. Of many, those that agree in the band's first bits are one, so that all that follows stays
    in the processor's cache: twice as many hashes then take twice as long.
    """
    if len(hashes) <= _CACHED:
        yield hashes, np.arange(len(hashes)), band
        return
    # Of random hashes some 8,000 a group: each takes a dozen calls for every choice of bands.
    bits = band[: min(16, max(1, len(hashes).bit_length() - 14))]
    values = _keys(hashes, bits).astype(np.uint16)
    order = np.argsort(values, kind="stable")  # by radix: numpy does so for 16 bits
    ends = np.cumsum(np.bincount(values, minlength=1 << len(bits))).tolist()
    for start, end in pairwise([0, *ends]):
        if end - start > 1:
            places = order[start:end]
            yield hashes[places], places, band[len(bits) :]


def _sorted_keys(hashes: Hashes, bits: list[int]) -> Hashes:
    """Sort hashes by the named bits. One number a hash: the bits, as far as there is room, then its place."""
    place_bits = (len(hashes) - 1).bit_length()
    packed = _keys(hashes, bits[: 64 - place_bits]) << np.uint64(place_bits) | np.arange(len(hashes), dtype=np.uint64)
    packed.sort()  # plain integers sort several times faster than an argsort
    return packed


def _same_key(packed: Hashes, n: int) -> Iterator[tuple[Places, Places]]:
    """Yield pairs of places of equal key. packed: as of `_sorted_keys` of n hashes."""
    place_bits = (n - 1).bit_length()
    shift, last = np.uint64(place_bits), np.uint64((1 << place_bits) - 1)
    apart, begin = 1, np.flatnonzero((packed[1:] ^ packed[:-1]) >> shift == 0)
    while len(begin):
        yield (packed[begin] & last).astype(np.int64), (packed[begin + apart] & last).astype(np.int64)
        apart += 1
        begin = begin[begin + apart < n]
        begin = begin[(packed[begin + apart] ^ packed[begin]) >> shift == 0]


def _bands(distance: int, n: int) -> list[list[int]]:
    """Cut 64 bits into as many bands as make the search among n hashes cheapest."""

    def cost(bands: int) -> float:
        key_bits = min(64 * (bands - distance) / bands, 64 - (n - 1).bit_length())
        return (
            comb(bands, distance) * n * (1 + n / 2 ** (key_bits + 1))
        )  # to sort a hash costs about as much as to compare two

    best = min(range(distance + 1, distance + 5), key=cost)
    edges = [64 * number // best for number in range(best + 1)]
    return [list(range(start, end)) for start, end in zip(edges[:-1], edges[1:], strict=True)]


def _mask(bits: Sequence[int]) -> np.uint64:
    return np.uint64(sum(1 << bit for bit in bits))


def _keys(hashes: Hashes, bits: list[int]) -> Hashes:
    """Put the named bits of each hash side by side, a run of neighbouring bits at a time."""
    keys = np.zeros(len(hashes), np.uint64)
    place = start = 0
    for end in range(1, len(bits) + 1):
        if end == len(bits) or bits[end] != bits[end - 1] + 1:
            run = bits[start:end]
            moved = (hashes & _mask(run)) >> np.uint64(run[0])
            keys |= moved << np.uint64(place)
            place, start = place + len(run), end
    return keys


def keep_first(n: int, pairs: NearPairs) -> NDArray[np.bool_]:
    """(n,) mask of the things that stay: in their order, each leaves that is near to an earlier one that stays.

    No chain drops more than its neighbours: whatever leaves has a near one that stays. A longer list changes nothing
    for its beginning.
    """
    is_kept = np.ones(n, np.bool_)
    first, second = pairs.first, pairs.second
    while len(first):
        # Things that no undecided earlier one is near to stay; their later neighbours leave; all others wait.
        is_waiting = np.zeros(n, np.bool_)
        is_waiting[second] = True
        stays = ~is_waiting[first]
        leaving = second[stays]
        is_kept[leaving] = False
        is_open = is_kept[first] & is_kept[second]
        first, second = first[is_open & ~stays], second[is_open & ~stays]
    return is_kept
