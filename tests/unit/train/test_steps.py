"""Steps that are judged on the device while the host is ahead end as steps that the host waits for, bit for bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clip_scaling.errors import DataError
from clip_scaling.models.checkpoint import read_state
from clip_scaling.study.config.training import Instability
from clip_scaling.train import signals
from clip_scaling.train.inputs import Batch
from clip_scaling.train.loop import Callback, Loop, Outcome, Step
from clip_scaling.train.stability import WRONG, DeviceWatch, Watch
from clip_scaling.train.steps import Result

from .conftest import Run, some_pairs

CPU = torch.device("cpu")


class Seen(Callback):
    """Records all that a step gives, and the weights where it is asked to look at them."""

    def __init__(self, looks_at: frozenset[int]) -> None:
        self.steps: list[Any] = []
        self.looks_at = looks_at

    def needs_model_after(self, step: int) -> bool:
        return step in self.looks_at

    def after_step(self, loop: Loop, step: Step) -> None:
        now = loop.progress
        self.steps.append((now.step, step.learning_rate, step.result, list(now.events), loop.unsaved_digest))
        if now.step in self.looks_at:
            self.steps.append([p.detach().clone() for p in loop.engine.model.base.parameters()])

    def after_rollback(self, loop: Loop) -> None:
        self.steps.append(("rollback", loop.progress.step))


class Spoiled:
    """Passes batches through. Those at the given steps have pixels that are NaN, captions of others, or an error."""

    def __init__(self, run: Run, nan: set[int], error: int | None) -> None:
        self.inner, self.order, self.nan, self.error = run.data, run.data.order, nan, error

    def batch(self, positions: Any) -> Batch:
        batch, step = self.inner.batch(positions), int(positions[0]) // 16
        if step == self.error:
            raise DataError("a shard is gone")
        if step in self.nan:
            return Batch(batch.pixels.float() * float("nan"), batch.tokens, batch.indices)
        return batch

    def close(self) -> None:
        self.inner.close()


def plain(value: Any) -> Any:
    """Nested values to be compared bit by bit: tensors as bytes, floats in hexadecimal, NaN too."""
    if isinstance(value, torch.Tensor):
        return value.detach().cpu().contiguous().numpy().tobytes()
    if isinstance(value, Result):
        return plain(asdict(value))
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items() if key != "seconds"}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def end(
    folder: Path,
    lag: int,
    changes: dict[str, Any],
    nan: set[int],
    error: int | None = None,
    prepare: Callable[[Run], None] | None = None,
) -> dict[str, Any]:
    """All that a run of 40 steps leaves: how it ended, what each step gave, its last state, its saved states."""
    run = Run(folder, samples=640, lag=lag, pairs=some_pairs(64, noise=64), **changes)
    if prepare:
        prepare(run)
    run.data = Spoiled(run, nan, error)  # type: ignore[assignment]
    loop, seen = run.loop(), Seen(frozenset({7, 8, 23}))
    loop.callbacks.append(seen)
    try:
        outcome: Outcome | str = loop.run()
    except DataError as failure:
        outcome = str(failure)
    state = outcome if isinstance(outcome, str) else outcome.state
    saved = [(each.step, plain(read_state(each.path))) for each in run.folder.saved()]
    final = None if isinstance(outcome, str) else outcome.final_loss
    return {
        "end": state,
        "steps": plain(seen.steps),
        "state": plain(loop.state()),
        "saved": saved,
        "final": plain(final),
    }


LOW = {"spike_factor": 0.5, "spike_nats": 0.0, "window": 10, "max_events": 6}
"""Every harder batch is a spike."""
CASES: dict[str, tuple[dict[str, Any], set[int]]] = {
    "sound": ({}, set()),
    "bf16": ({"precision": "amp_bf16"}, set()),
    "accumulated": ({"resources": {"accumulate": 2}, "patch_dropout": 0.5}, set()),
    "no clipping": ({"gradient_clip": None, "objective": "siglip"}, set()),
    "stop": ({}, {13}),
    "stop at once": ({}, {0}),
    "stop at the last": ({}, {39}),
    "stop on a spike": ({"instability": LOW}, set()),
    "skip": ({"instability": {"policy": "skip"}}, {5, 6, 7, 20, 39}),
    "skip too many": ({"instability": {"policy": "skip", "max_events": 2}}, {5, 6, 9, 20}),
    "skip spikes": ({"instability": LOW | {"policy": "skip"}}, {17}),
    "roll back": ({"instability": {"policy": "rollback", "window": 10}}, {3, 12, 13, 29}),
    "roll back from spikes": ({"instability": LOW | {"policy": "rollback"}}, {25}),
    "roll back too often": ({"instability": {"policy": "rollback", "window": 10, "max_events": 1}}, {3, 12}),
    "wsd": ({"schedule": "wsd", "instability": {"policy": "skip"}}, {30}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("lag", [1, 3])
def test_a_host_that_is_ahead_ends_with_the_same_bits_and_records(tmp_path: Path, case: str, lag: int) -> None:
    changes, nan = CASES[case]
    expected = end(tmp_path / "immediate", 0, changes, nan)
    found = end(tmp_path / "delayed", lag, changes, nan)
    for name in expected:
        assert found[name] == expected[name], name


def test_the_cases_above_do_what_their_names_say(tmp_path: Path) -> None:
    kinds = {}
    for case in ("stop on a spike", "skip spikes", "roll back from spikes", "skip too many"):
        events = end(tmp_path / case, 3, *CASES[case])["state"]["progress"]["events"]
        kinds[case] = [(event["kind"], event["action"]) for event in events]
    assert kinds["stop on a spike"] == [("spike", "stop")]
    assert ("spike", "skip") in kinds["skip spikes"]
    assert ("spike", "rollback") in kinds["roll back from spikes"]
    assert kinds["skip too many"] == [("nonfinite_loss", action) for action in ("skip", "skip", "stop")]


@pytest.mark.parametrize("policy", ["stop", "skip", "rollback"])
def test_a_gradient_scaler_learns_the_same(tmp_path: Path, policy: str) -> None:
    def with_scaler(run: Run) -> None:
        # The scaler of amp, here on the CPU: infinite gradients at first, then a scale that grows every third step.
        run.engine.precision.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**127, growth_interval=3)
        run.engine.recipe = run.engine.recipe.model_copy(update={"precision": "amp"})

    changes = {"instability": {"policy": policy, "window": 10, "spike_factor": None}}
    expected = end(tmp_path / "immediate", 0, changes, {18, 19}, prepare=with_scaler)
    found = end(tmp_path / "delayed", 3, changes, {18, 19}, prepare=with_scaler)
    assert float.fromhex(expected["state"]["scaler"]["scale"]) < 2.0**127
    norms = [
        step[2]["gradient_norm"] for step in expected["steps"] if isinstance(step[0], int) and not step[2]["wrong"]
    ]
    assert {"inf", "nan"} & set(norms)
    for name in expected:
        assert found[name] == expected[name], name


def test_a_batch_that_cannot_be_had_is_an_error_after_the_steps_before_it(tmp_path: Path) -> None:
    for name, nan in (("error", set()), ("diverged before", {10}), ("diverged long before", {3})):
        expected = end(tmp_path / name / "immediate", 0, {}, nan, error=11)
        found = end(tmp_path / name / "delayed", 3, {}, nan, error=11)
        assert found == expected
        assert (expected["end"] == "diverged") == bool(nan)


def test_a_signal_saves_after_the_steps_in_flight_and_the_run_continues_to_the_same_bits(tmp_path: Path) -> None:
    whole = Run(tmp_path / "whole")
    whole.go()
    run = Run(tmp_path / "run", lag=3)
    signals.listen()
    os.kill(os.getpid(), signal.SIGUSR2)
    outcome = run.go()
    assert outcome.state == "saved" and outcome.progress.step == 4 == run.folder.saved()[0].step
    signals.forget()
    again = Run(tmp_path / "run", lag=3)
    assert again.go().state == "trained"
    assert again.weights == whole.weights


def test_states_saved_by_the_clock_continue_to_the_same_bits(tmp_path: Path) -> None:
    whole = Run(tmp_path / "whole")
    expected = whole.go()
    run = Run(tmp_path / "run", lag=3, checkpoint_seconds=0.0)
    loop = run.loop()
    loop.stop = 11
    loop.run()
    assert run.folder.saved()
    again = Run(tmp_path / "run", lag=3, checkpoint_seconds=0.0)
    outcome = again.go()
    assert again.weights == whole.weights and outcome.final_loss == expected.final_loss
    assert outcome.progress.step == 20


def test_verdicts_of_the_device_are_those_of_the_host() -> None:
    rules = Instability(spike_factor=2.0, spike_nats=0.1, window=11)
    for seed in range(4):
        draws = np.random.default_rng(seed)
        host, device = Watch(rules, [2.0, 2.1]), DeviceWatch(rules, CPU)
        device.restart([2.0, 2.1])
        found, expected = [], []
        for number in range(200):
            loss = float(draws.normal(2, 0.3)) if number % 17 else float("nan")
            norm = 1.0 if number % 23 else float("inf")
            expected.append(host.judge(loss, norm))
            code = device.judge(torch.tensor(loss, dtype=torch.float64), torch.tensor(norm, dtype=torch.float64))
            found.append(WRONG[int(code)])
            assert bool(device.blocked) == (expected[-1] is not None)
            device.clear()
        assert found == expected and {"spike", "nonfinite_loss", "nonfinite_gradient", None} == set(found)


def test_a_step_after_an_unsound_one_leaves_no_trace_until_the_host_has_acted() -> None:
    device = DeviceWatch(Instability(window=10), CPU)
    one, nan = torch.tensor(1.0, dtype=torch.float64), torch.tensor(float("nan"), dtype=torch.float64)
    device.judge(one, one)
    device.judge(nan, one)
    before = device.recent.clone()
    assert int(device.judge(one * 3, one)) == 0 and bool(device.blocked) and int(device.count) == 1
    assert torch.equal(device.recent, before)
    device.clear()
    device.judge(one * 3, one)
    assert device.recent[:2].tolist() == [1.0, 3.0] and int(device.count) == 2
