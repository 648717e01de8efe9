"""On a GPU: batches that come ahead, crops made there, steps that the host does not wait for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from clip_scaling.data.shared_batches import SharedBatches
from clip_scaling.train.augment import crop_boxes
from clip_scaling.train.inputs import PackedInput
from clip_scaling.train.order import Order, rank_positions
from clip_scaling.train.prefetch import Prefetch
from clip_scaling.train.resample import resample
from clip_scaling.train.steps import DelayedSteps

from .conftest import Run, some_pairs
from .test_resample import scenes
from .test_steps import end

pytestmark = pytest.mark.gpu
GPU = "cuda:0"


@contextmanager
def no_waiting() -> Iterator[None]:
    """torch raises where the host would wait for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("precision", ["fp32", "tf32", "amp", "amp_bf16"])
@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_a_host_that_is_ahead_ends_with_the_same_bits_on_a_gpu(tmp_path: Path, precision: str, policy: str) -> None:
    changes = {"precision": precision, "device": GPU, "instability": {"policy": policy, "window": 10}}
    expected = end(tmp_path / "immediate", 0, changes, {13, 27})
    found = end(tmp_path / "delayed", 3, changes, {13, 27})
    for name in expected:
        assert found[name] == expected[name], name


@pytest.mark.parametrize("precision", ["fp32", "amp", "amp_bf16"])
@pytest.mark.parametrize("accumulate", [1, 4])
def test_a_step_does_not_wait_for_the_gpu(tmp_path: Path, precision: str, accumulate: int) -> None:
    run = Run(tmp_path, device=GPU, precision=precision, crop_scale=(0.5, 1.0), resources={"accumulate": accumulate})
    data, steps = Prefetch(run.data, 16, torch.device(GPU)), DelayedSteps(run.engine)
    try:
        reads = []
        for step in range(6):
            batch = data.batch(rank_positions(step, 16, 0, 1))
            if step < 2:  # the first makes the optimizer's state and the library's handles
                steps.make(batch, step, 1e-3, False, lambda: (False, False))()
                continue
            with no_waiting():
                reads.append(steps.make(batch, step, 1e-3, False, lambda: (False, False)))
        assert all(np.isfinite(read().loss) for read in reads)
    finally:
        data.close()


def test_batches_are_on_the_gpu_before_they_are_asked_for() -> None:
    pairs = some_pairs(64, noise=64)
    plain = PackedInput(pairs, Order([64], 0))
    ahead = Prefetch(PackedInput(pairs, Order([64], 0), None, torch.device(GPU)), 16, torch.device(GPU))
    try:
        for step in (0, 1, 2, 3, 7, 8):
            found, expected = (each.batch(rank_positions(step, 16, 0, 1)) for each in (ahead, plain))
            assert found.pixels.is_cuda and torch.equal(found.pixels.cpu(), expected.pixels)
            assert found.tokens.is_pinned() and torch.equal(found.tokens, expected.tokens)
    finally:
        ahead.close()


def test_crops_of_a_gpu_are_those_of_a_cpu() -> None:
    images, sizes = scenes(40, 96, 80), np.tile([80, 96], (40, 1))
    boxes = torch.from_numpy(crop_boxes((0.1, 1.0), 0, np.zeros(40, dtype=np.int64), np.arange(40), sizes))
    there, here = torch.from_numpy(images).to(GPU), torch.from_numpy(images)
    with no_waiting():
        found = resample(there, boxes, 64)
    assert (found.cpu().int() - resample(here, boxes, 64).int()).abs().max() <= 1


def test_memory_that_workers_share_is_pinned_and_given_back() -> None:
    batches = SharedBatches(3, 4, 8, 6)
    batches[4].pixels[:] = 7
    pixels = torch.from_numpy(batches[1].pixels)
    assert not pixels.is_pinned()
    batches.pin()
    assert pixels.is_pinned() and pixels.to(GPU, non_blocking=True).unique().tolist() == [7]
    batches.close()
    assert not pixels.is_pinned()
