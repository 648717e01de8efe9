"""The loop learns, is exact however it is interrupted, and takes instability for a result."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clip_scaling.errors import TrainingError
from clip_scaling.records.curve import TrainingPoint, ValidationPoint, read_curve, write_curve
from clip_scaling.train import signals
from clip_scaling.train.callbacks import Curve
from clip_scaling.train.inputs import Batch
from clip_scaling.train.loop import Loop
from clip_scaling.train.monitor import Monitor
from clip_scaling.train.order import Order, order_digest

from .conftest import Run, some_pairs


def test_the_loss_falls_and_the_budget_is_met(tmp_path: Path) -> None:
    run = Run(tmp_path, samples=1_600)
    loop = run.loop()
    monitor = Monitor(tmp_path, "run", 1_600, 0)
    loop.callbacks.append(Curve(monitor))
    outcome = loop.run()
    assert outcome.state == "trained" and outcome.progress.step == 100
    first, *_, last = read_curve(tmp_path / "curve.jsonl")
    assert isinstance(first, TrainingPoint) and first.loss == pytest.approx(np.log(16), rel=0.3)
    assert outcome.final_loss is not None and outcome.final_loss < 0.7 * first.loss
    assert (first.step, last.step, last.samples) == (1, 100, 1_600)
    assert list((tmp_path / "tensorboard").iterdir())


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(tmp_path: Path) -> None:
    hashes = []
    for number, seed in enumerate((0, 0, 1)):
        run = Run(tmp_path / str(number), seed=seed)
        run.go()
        hashes.append(run.weights)
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "amp_bf16"},
        {"patch_dropout": 0.5, "crop_scale": (0.5, 1.0)},
        {"sampling": "replacement"},
        {"resources": {"accumulate": 4}, "patch_dropout": 0.5},
        {"schedule": "wsd"},
        {"objective": "siglip"},
    ],
    ids=str,
)
def test_a_run_stopped_at_any_step_continues_to_the_same_bits(tmp_path: Path, changes: dict[str, Any]) -> None:
    whole = Run(tmp_path / "whole", **changes)
    expected = whole.go()
    for number, stop in enumerate((1, 7, 19)):
        first = Run(tmp_path / str(number), **changes)
        loop = first.loop()
        loop.stop = stop
        loop.run()
        loop.save()
        second = Run(tmp_path / str(number), **changes)
        outcome = second.go()
        assert second.weights == whole.weights
        assert outcome.final_loss == expected.final_loss


def test_the_tokens_that_the_text_tower_took_are_counted_over_all_attempts(tmp_path: Path) -> None:
    first = Run(tmp_path / "run").loop()
    first.stop = 7
    first.run()
    first.save()
    second = Run(tmp_path / "run").loop()
    second.continue_saved()
    second.run()
    second.state()
    assert second.progress.text_tokens == 320 * 4  # each caption has four tokens, of a context of six


def test_the_tokens_of_a_run_that_an_older_version_began_are_not_known(tmp_path: Path) -> None:
    loop = Run(tmp_path / "run").loop()
    state = loop.state()
    del state["progress"]["text_tokens"]
    loop.start_from(state)
    loop.run()
    loop.state()
    assert loop.progress.text_tokens is None


def test_a_signal_saves_at_the_next_step_and_the_same_command_continues(tmp_path: Path) -> None:
    whole = Run(tmp_path / "whole")
    whole.go()
    run = Run(tmp_path / "run")
    signals.listen()
    os.kill(os.getpid(), signal.SIGUSR2)
    outcome = run.go()
    assert outcome.state == "saved" and outcome.progress.step == 1
    assert signals.received() == "SIGUSR2"
    signals.forget()
    again = Run(tmp_path / "run")
    assert again.go().state == "trained"
    assert again.weights == whole.weights


def test_states_are_saved_by_the_clock(tmp_path: Path) -> None:
    run = Run(tmp_path, checkpoint_seconds=0.0)
    run.go()
    assert [state.step for state in run.folder.saved()] == [19, 18]


def test_a_torn_state_is_passed_over_and_the_end_is_the_same(tmp_path: Path) -> None:
    whole = Run(tmp_path / "whole")
    whole.go()
    run = Run(tmp_path / "run", checkpoint_seconds=0.0)
    loop = run.loop()
    loop.stop = 10
    loop.run()
    newest = run.folder.saved()[0].path
    newest.write_bytes(newest.read_bytes()[:1000])
    again = Run(tmp_path / "run")
    assert again.go().state == "trained"
    assert again.weights == whole.weights


def test_a_state_of_another_recipe_is_not_continued(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = Run(tmp_path)
    loop = run.loop()
    loop.identity = "another"
    loop.save()
    assert not run.loop().continue_saved()
    assert "another recipe" in caplog.text and not run.folder.saved()


def test_the_digest_is_that_of_the_order(tmp_path: Path) -> None:
    run = Run(tmp_path, checkpoint_seconds=0.0)
    loop = run.loop()
    outcome = loop.run()
    loop.state()
    positions = np.arange(320)
    assert outcome.progress.digest == order_digest(positions, Order([32], 0).indices(positions))


def test_a_branch_of_a_trunk_is_the_whole_run(tmp_path: Path) -> None:
    changes: dict[str, Any] = {"schedule": "wsd", "cooldown_fraction": 0.25}
    whole = Run(tmp_path / "whole", **changes)
    whole.go()
    trunk = Run(tmp_path / "trunk", **changes)
    trunk.steps, trunk.stop = None, 15
    loop = trunk.loop()
    assert loop.run().state == "trained"
    cooldown = Run(tmp_path / "cooldown", origin=15, **changes)
    branch = cooldown.loop()
    branch.start_from(loop.state())
    branch.run()
    assert cooldown.weights == whole.weights


class Spoiled:
    """Passes batches through and spoils those at the given steps: tokens that make the loss jump, or pixels NaN."""

    def __init__(self, run: Run, steps: set[int], lost: int = 0) -> None:
        self.inner, self.order, self.steps, self.lost = run.data, run.data.order, steps, lost

    def batch(self, positions: Any) -> Batch:
        batch = self.inner.batch(positions)
        if int(positions[0]) // 16 in self.steps:
            return Batch(batch.pixels.float() * float("nan"), batch.tokens, batch.indices, self.lost)
        return batch

    def close(self) -> None:
        self.inner.close()


def spoiled(run: Run, steps: set[int], lost: int = 0) -> Loop:
    run.data = Spoiled(run, steps, lost)  # type: ignore[assignment]
    return run.loop()


def test_divergence_ends_the_run_as_a_result(tmp_path: Path) -> None:
    outcome = spoiled(Run(tmp_path), {5}).run()
    assert outcome.state == "diverged" and outcome.progress.step == 5
    [event] = outcome.progress.events
    assert event == {"step": 6, "kind": "nonfinite_loss", "loss": None, "gradient_norm": None, "action": "stop"}


def test_a_bad_batch_can_be_skipped(tmp_path: Path) -> None:
    run = Run(tmp_path, instability={"policy": "skip"})
    outcome = spoiled(run, {5, 9}).run()
    assert outcome.state == "trained"
    assert [(event["step"], event["action"]) for event in outcome.progress.events] == [(6, "skip"), (10, "skip")]
    assert all(torch.isfinite(p).all() for p in run.engine.model.base.parameters())


def test_too_many_events_end_the_run(tmp_path: Path) -> None:
    outcome = spoiled(Run(tmp_path, instability={"policy": "skip", "max_events": 1}), {5, 9}).run()
    assert outcome.state == "diverged"
    assert [event["action"] for event in outcome.progress.events] == ["skip", "stop"]


def test_a_rollback_returns_to_its_window_and_passes_over_what_was_seen(tmp_path: Path) -> None:
    # Windows of 10 steps; batch 13 is bad: back to step 10, and on with batch 14 as the 11th step's.
    rules = {"policy": "rollback", "window": 10, "spike_factor": None}
    run = Run(tmp_path / "run", instability=rules)
    outcome = spoiled(run, {13}).run()
    assert outcome.state == "trained" and outcome.progress.shift == 4
    assert [(event["step"], event["action"]) for event in outcome.progress.events] == [(14, "rollback")]
    # The same with an interruption between the rollback and the end.
    first = Run(tmp_path / "again", instability=rules)
    loop = spoiled(first, {13})
    loop.stop = 12
    loop.run()
    loop.save()
    second = Run(tmp_path / "again", instability=rules)
    resumed = spoiled(second, {13})
    resumed.continue_saved()
    resumed.run()
    assert second.weights == run.weights


def test_a_spike_is_told_from_noise(tmp_path: Path) -> None:
    from clip_scaling.study.config.training import Instability
    from clip_scaling.train.stability import Watch

    # Losses 1.0 .. 1.9: median 1.45, MAD 0.25, robust deviation 0.37; a spike at 4 deviations is above 2.93.
    watch = Watch(Instability(spike_factor=4, window=10))
    assert all(watch.judge(1 + number / 10, 1.0) is None for number in range(10))
    assert watch.judge(2.9, 1.0) is None
    assert Watch(watch.rules, [1 + number / 10 for number in range(10)]).judge(2.95, 1.0) == "spike"
    assert watch.judge(1.0, float("inf")) == "nonfinite_gradient"
    assert watch.judge(1.0, float("inf"), ignore_gradient=True) is None


def test_too_many_lost_samples_end_the_run(tmp_path: Path) -> None:
    run = Run(tmp_path, instability={"policy": "skip"}, max_lost_fraction=0.01)
    with pytest.raises(TrainingError, match=r"4 samples could not be read.*max_lost_fraction 0.01 of 320"):
        spoiled(run, {0}, lost=4).run()


def test_the_curve_forgets_steps_that_are_made_again(tmp_path: Path) -> None:
    points = [ValidationPoint(step=step, samples=16 * step, validation={"scenes/acc1": 0.5}) for step in (1, 5)]
    write_curve(tmp_path / "curve.jsonl", points)
    with open(tmp_path / "curve.jsonl", "a") as file:
        file.write('{"step": 7, "lo')
    assert Monitor(tmp_path, "run", 100, step=3).points() == points[:1]


def test_larger_data_do_not_change_how_a_run_continues(tmp_path: Path) -> None:
    run = Run(tmp_path, pairs=some_pairs(100, noise=64))
    assert run.go().state == "trained"


def test_a_harder_batch_of_pairs_known_by_heart_is_no_spike() -> None:
    from clip_scaling.study.config.training import Instability
    from clip_scaling.train.stability import Watch

    # Seen in the laptop study: losses of about 0.001 nats, then one of 0.077 whose gradient norm was 0.1.
    watch = Watch(Instability(), [0.001 + 0.0001 * (number % 10) for number in range(100)])
    assert watch.judge(0.077, 0.1) is None
    assert watch.judge(0.6, 0.1) == "spike"
