"""The order of pairs is a function of (data, seed, epoch), the same at any number of ranks."""

import numpy as np
import pytest

from clip_scaling.train.order import Order, add_digests, order_digest, permute, rank_positions

WHOLE = {"readers": None}
READERS = {"readers": 4, "window": 3}


def run_of(order: Order, start: int, stop: int) -> np.ndarray:
    return order.indices(np.arange(start, stop))


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1000, 4097])
def test_a_permutation_sends_each_place_to_another(size: int) -> None:
    assert sorted(permute(np.arange(size), size, np.uint64(5))) == list(range(size))


@pytest.mark.parametrize("how", [WHOLE, READERS, {"readers": 8, "window": 100}])
@pytest.mark.parametrize("shards", [[10], [3, 5, 2, 7, 1, 4], [16, 16, 16]])
def test_each_pair_is_seen_once_an_epoch(how: dict, shards: list[int]) -> None:
    order, pairs = Order(shards, seed=3, **how), sum(shards)
    for epoch in range(3):
        assert sorted(run_of(order, epoch * pairs, (epoch + 1) * pairs)) == list(range(pairs))


@pytest.mark.parametrize("how", [WHOLE, READERS])
def test_any_place_can_be_asked_for_alone(how: dict) -> None:
    order = Order([13, 20, 17], seed=1, **how)
    forward = run_of(order, 0, 200)
    for start in (199, 3, 49, 50, 111):
        assert np.array_equal(Order([13, 20, 17], seed=1, **how).indices(np.array([start])), forward[[start]])


def test_seed_and_epoch_change_the_order() -> None:
    runs = {tuple(run_of(Order([100], seed), e * 100, e * 100 + 100)) for seed in (0, 1) for e in (0, 1)}
    assert len(runs) == 4


def test_an_order_is_close_to_random() -> None:
    # Mean of |place - pair| over a random permutation of n is (n^2 - 1) / 3n.
    n = 10_000
    moved = np.abs(run_of(Order([n], 0), 0, n) - np.arange(n)).mean()
    assert moved == pytest.approx((n * n - 1) / (3 * n), rel=0.03)


@pytest.mark.parametrize("how", [WHOLE, READERS])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_ranks_share_each_batch_without_gap_or_overlap(how: dict, ranks: int) -> None:
    order = Order([9, 14], seed=0, **how)
    digests = []
    for step in range(10):
        parts = [rank_positions(step, 8, rank, ranks) for rank in range(ranks)]
        assert sorted(np.concatenate(parts)) == list(range(step * 8, step * 8 + 8))
        digests += [order_digest(part, order.indices(part)) for part in parts]
    everything = np.arange(80)
    assert add_digests(*digests) == order_digest(everything, order.indices(everything))


def test_a_rank_reads_only_its_own_readers_part_of_the_data() -> None:
    # 4 readers over 4 shards of 8 pairs: each reader walks exactly one shard, and each of 2 ranks two shards.
    order = Order([8, 8, 8, 8], seed=0, readers=4, window=8)
    for rank in (0, 1):
        positions = np.concatenate([rank_positions(step, 8, rank, 2) for step in range(4)])
        assert len({int(pair) // 8 for pair in order.indices(positions)}) == 2


def test_a_digest_tells_a_missed_a_doubled_and_an_exchanged_pair() -> None:
    positions, indices = np.arange(8), np.array([5, 3, 7, 1, 0, 2, 6, 4])
    right = order_digest(positions, indices)
    assert right != order_digest(positions[:-1], indices[:-1])
    assert right != order_digest(np.append(positions, 7), np.append(indices, 4))
    assert right != order_digest(positions, indices[[1, 0, *range(2, 8)]])


def test_draws_with_replacement_repeat_pairs_and_keep_to_the_virtual_epoch() -> None:
    order = Order([50], seed=0, replacement=True, virtual_epoch=20)
    assert order.epochs(np.array([0, 19, 20, 40])).tolist() == [0, 0, 1, 2]
    seen = run_of(order, 0, 5000)
    counts = np.bincount(seen, minlength=50)
    assert counts.min() > 60 and counts.max() < 150  # 100 each, give or take
    assert len(set(seen[:50])) < 50


def test_readers_with_replacement_draw_whole_shards() -> None:
    order = Order([10, 10, 10], seed=0, readers=1, window=10, replacement=True, virtual_epoch=30)
    shards = run_of(order, 0, 300) // 10
    assert all(len(set(shards[start : start + 10])) == 1 for start in range(0, 300, 10))
    drawn = {tuple(sorted(shards[epoch * 30 : epoch * 30 + 30 : 10])) for epoch in range(10)}
    assert any(len(set(epoch)) < 3 for epoch in drawn)


def test_a_substitute_depends_on_the_position_and_the_attempt_alone() -> None:
    order = Order([100], seed=0)
    positions = np.arange(40)
    assert np.array_equal(order.substitutes(positions, 0)[10:], order.substitutes(positions[10:], 0))
    assert not np.array_equal(order.substitutes(positions, 0), order.substitutes(positions, 1))


def test_the_mixing_of_one_integer_is_that_of_an_array() -> None:
    from clip_scaling.train.order import _mix_one, mix

    words = [0, 1, 2**63, 2**64 - 1, 123456789]
    assert mix(np.array(words, dtype=np.uint64)).tolist() == [_mix_one(word) for word in words]
    # SplitMix64's first output from seed 0 (Steele et al. 2014; the value that Java's SplittableRandom gives).
    assert _mix_one(0) == 0xE220A8397B1DCDAF
