"""The order of pairs is a function of (pairs, seed, epoch)."""

import numpy as np

from clip_scaling.train.order import batch_indices, epoch_order


def test_each_pair_is_seen_once_an_epoch() -> None:
    seen = np.concatenate([batch_indices(step, 4, 10, seed=0) for step in range(5)])
    assert sorted(seen[:10]) == list(range(10))
    assert sorted(seen[10:]) == list(range(10))


def test_a_batch_may_end_one_epoch_and_begin_the_next() -> None:
    batch = batch_indices(1, 4, 6, seed=3)
    assert list(batch) == [*epoch_order(6, 3, 0)[4:], *epoch_order(6, 3, 1)[:2]]


def test_any_step_can_be_asked_for_alone() -> None:
    forward = [batch_indices(step, 8, 50, seed=1) for step in range(20)]
    for step in (19, 3, 11):
        assert np.array_equal(batch_indices(step, 8, 50, seed=1), forward[step])


def test_a_batch_larger_than_an_epoch_is_several_epochs() -> None:
    assert sorted(batch_indices(0, 9, 3, seed=0)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]


def test_seed_and_epoch_change_the_order() -> None:
    orders = [tuple(epoch_order(100, seed, epoch)) for seed in (0, 1) for epoch in (0, 1)]
    assert len(set(orders)) == 4
