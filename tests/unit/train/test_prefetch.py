"""Batches that come ahead are the batches of their positions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_scaling.errors import DataError
from clip_scaling.train.inputs import GATHERERS, Batch, PackedInput, gather
from clip_scaling.train.order import Indices, Order, rank_positions
from clip_scaling.train.prefetch import Prefetch

from .conftest import Run, some_pairs

CPU = torch.device("cpu")


class Watched:
    """Packed pairs whose one buffer is used again; records who asks for what. Fails at one step."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.inner = PackedInput(some_pairs(64, noise=64), Order([64], 0))
        self.order, self.fails_at = self.inner.order, fails_at
        self.asked: list[tuple[int, bool]] = []
        self.pixels = torch.empty(16, 16, 16, 3, dtype=torch.uint8)
        self.is_closed = False

    def batch(self, positions: Indices) -> Batch:
        step = int(positions[0]) // 16
        self.asked.append((step, threading.current_thread() is threading.main_thread()))
        if step == self.fails_at:
            raise DataError("a shard is gone")
        batch = self.inner.batch(positions)
        self.pixels.copy_(batch.pixels)
        return Batch(self.pixels, batch.tokens, batch.indices)

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def opened() -> Iterator[list[Prefetch]]:
    found: list[Prefetch] = []
    yield found
    for each in found:
        each.close()


def at(step: int) -> Indices:
    return rank_positions(step, 16, 0, 1)


def test_batches_come_ahead_by_another_thread_and_keep_their_memory(opened: list[Prefetch]) -> None:
    watched = Watched()
    ahead = Prefetch(watched, 16, CPU)
    opened.append(ahead)
    found = [ahead.batch(at(step)) for step in (0, 1, 2, 3, 9, 10, 4)]
    for step, batch in zip((0, 1, 2, 3, 9, 10, 4), found, strict=True):
        expected = watched.inner.batch(at(step))
        assert torch.equal(batch.pixels, expected.pixels) and torch.equal(batch.tokens, expected.tokens)
        assert np.array_equal(batch.indices, expected.indices)
    ahead.close()
    in_main = [step for step, is_main in watched.asked if is_main]
    assert in_main == [0, 9, 4] and watched.is_closed  # the first of each row of steps
    assert {1, 2, 3, 10} <= {step for step, is_main in watched.asked if not is_main}


def test_two_more_are_asked_for_while_one_is_in_use(opened: list[Prefetch]) -> None:
    watched = Watched()
    ahead = Prefetch(watched, 16, CPU, ahead=2)
    opened.append(ahead)
    ahead.batch(at(0))
    for _, future in ahead._coming:
        future.result()
    assert [step for step, _ in watched.asked] == [0, 1, 2]


def test_an_error_comes_with_its_own_batch(opened: list[Prefetch]) -> None:
    ahead = Prefetch(Watched(fails_at=2), 16, CPU)
    opened.append(ahead)
    ahead.batch(at(0))
    ahead.batch(at(1))
    with pytest.raises(DataError, match="a shard is gone"):
        ahead.batch(at(2))
    assert ahead.batch(at(5)).indices.tolist() == ahead.order.indices(at(5)).tolist()


def test_a_run_whose_batches_come_ahead_ends_with_the_same_bits(tmp_path: Path, opened: list[Prefetch]) -> None:
    rules = {"policy": "rollback", "window": 10, "spike_factor": 0.5, "spike_nats": 0.0}
    changes = {"instability": rules, "samples": 640, "pairs": some_pairs(64, noise=64)}
    expected = Run(tmp_path / "plain", **changes)
    first = expected.go()
    run = Run(tmp_path / "ahead", lag=3, **changes)
    run.data = ahead = Prefetch(run.data, 16, CPU)  # type: ignore[assignment]
    opened.append(ahead)
    second = run.go()
    assert run.weights == expected.weights and first.final_loss == second.final_loss
    assert first.progress.events == second.progress.events and first.progress.events


@pytest.mark.parametrize("count", [1, 3, 16, 61])
def test_threads_gather_the_rows_of_their_indices(count: int) -> None:
    pixels = some_pairs(64, noise=64).pixels
    indices = np.random.default_rng(0).integers(0, 64, count)
    with ThreadPoolExecutor(GATHERERS) as threads:
        assert np.array_equal(gather(pixels, indices, threads).numpy(), pixels[indices])
    assert np.array_equal(gather(pixels, indices).numpy(), pixels[indices])
