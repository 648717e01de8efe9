"""The banded search finds what comparing each with each finds, and the first of near things stay."""

import numpy as np
import pytest

from clip_scaling.data.duplicates import search
from clip_scaling.data.duplicates.search import NearPairs, keep_first, near_pairs
from clip_scaling.errors import DataError


def flip(hashes: np.ndarray, bits: int, generator: np.random.Generator) -> np.ndarray:
    """The hashes with up to `bits` of their bits changed."""
    for _ in range(bits):
        hashes = hashes ^ (np.uint64(1) << generator.integers(0, 64, len(hashes), dtype=np.uint64))
    return hashes


def compare_all(hashes: np.ndarray, distance: int) -> list[tuple[int, int]]:
    found = [(i, j) for j in range(len(hashes)) for i in range(j) if int(hashes[i] ^ hashes[j]).bit_count() <= distance]
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


@pytest.mark.parametrize("cached", [search._CACHED, 16])
@pytest.mark.parametrize("distance", [0, 1, 3, 6, 9, 16])
def test_the_search_finds_every_pair_once(distance: int, cached: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_CACHED", cached)  # beyond it the search goes group by group
    generator = np.random.default_rng(distance)
    random = generator.integers(0, 2**64, 80, dtype=np.uint64)
    alike = generator.integers(0, 2**9, 60, dtype=np.uint64)  # most of their bits are zero, as on an even ground
    hashes = np.unique(np.concatenate([random, flip(random, distance + 1, generator), alike]))
    generator.shuffle(hashes)
    found = near_pairs(hashes, distance)
    expected = compare_all(hashes, distance)
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == expected
    assert len(expected) > (0 if distance else -1)
    assert [int(hashes[i] ^ hashes[j]).bit_count() for i, j in expected] == found.distance.tolist()


@pytest.mark.parametrize("bands", [7, 8, 9, 10])
def test_the_number_of_bands_changes_no_result(bands: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    random = generator.integers(0, 2**64, 100, dtype=np.uint64)
    hashes = np.concatenate([random, flip(random, 6, generator)])
    edges = np.linspace(0, 64, bands + 1).astype(int)
    cut = [list(range(start, end)) for start, end in zip(edges[:-1], edges[1:], strict=True)]
    monkeypatch.setattr(search, "_bands", lambda distance, n: cut)
    found = near_pairs(hashes, 6)
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == compare_all(hashes, 6)


@pytest.mark.parametrize("distance", [0, 1, 2])
def test_many_hashes_are_searched_group_by_group_at_any_width_of_the_bands(distance: int) -> None:
    generator = np.random.default_rng(0)
    random = np.unique(generator.integers(0, 2**64, search._CACHED + 1000, dtype=np.uint64))
    generator.shuffle(random)
    copies = random[:50] ^ np.uint64((1 << distance) - 1 << 40)
    found = near_pairs(np.concatenate([random, copies] if distance else [random]), distance)
    planted = [(place, len(random) + place) for place in range(50 if distance else 0)]
    assert list(zip(found.first.tolist(), found.second.tolist(), strict=True)) == planted


def test_none_and_one_have_no_pairs() -> None:
    for n in (0, 1):
        assert len(near_pairs(np.arange(n, dtype=np.uint64), 6).first) == 0


def test_hashes_that_are_all_alike_stop_the_search_before_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "MAX_PAIRS", 1000)
    with pytest.raises(DataError, match="too many pairs of 64 perceptual hashes are within 6 bits.*smaller distance"):
        near_pairs(np.arange(64, dtype=np.uint64), 6)  # 2,016 pairs


def test_distances_beyond_a_quarter_of_the_bits_are_refused() -> None:
    with pytest.raises(DataError, match="within 0 to 16 bits"):
        near_pairs(np.arange(2, dtype=np.uint64), 17)


def pairs_of(*pairs: tuple[int, int]) -> NearPairs:
    first, second = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    return NearPairs(first, second, np.ones(len(first), np.uint8))


def test_the_first_of_a_cluster_stays() -> None:
    assert keep_first(4, pairs_of((0, 2), (0, 3), (2, 3))).tolist() == [True, True, False, False]


def test_a_chain_drops_only_what_is_near_to_one_that_stays() -> None:
    # 0-1-2-3: 1 leaves for 0; 2 is near to none that stays, so it stays; 3 leaves for 2.
    assert keep_first(4, pairs_of((0, 1), (1, 2), (2, 3))).tolist() == [True, False, True, False]


def test_a_longer_list_changes_nothing_for_its_beginning() -> None:
    generator = np.random.default_rng(1)
    edges = {tuple(sorted(pair)) for pair in generator.integers(0, 60, (150, 2)).tolist() if pair[0] != pair[1]}
    whole = keep_first(60, pairs_of(*edges))
    part = keep_first(30, pairs_of(*[pair for pair in edges if max(pair) < 30]))
    assert whole[:30].tolist() == part.tolist()
