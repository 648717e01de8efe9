"""A run that makes no step for too long ends by itself, and only such a run."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from clip_scaling.errors import TrainingError
from clip_scaling.train import job
from clip_scaling.train.distributed import Ranks
from clip_scaling.train.signals import EXIT_HUNG, EXIT_SAVED
from clip_scaling.train.watchdog import FACTOR, FIRST, Patience, Watchdog

from .conftest import Run
from .tiny_cell import tiny_job


def waits(patience: Patience, seconds: int) -> bool:
    """Whether patience ends within some seconds, looked at each second."""
    return any([patience.wait(1.0, 1.0) for _ in range(seconds)])


def test_a_run_may_go_without_a_step_for_the_limit() -> None:
    patience = Patience(60)
    patience.step()
    assert not waits(patience, 60) and waits(patience, 1)
    patience.step()
    assert not waits(patience, 60)


def test_before_the_first_step_it_may_for_longer_and_the_first_says_nothing_of_others() -> None:
    patience = Patience(60)
    assert not waits(patience, FIRST * 60)
    patience.step()
    assert patience.longest == 0 and patience.allowed == 60


def test_long_steps_lengthen_the_limit() -> None:
    patience = Patience(60)
    patience.step()
    waits(patience, 7)
    patience.step()
    assert patience.allowed == 7 * FACTOR
    assert not waits(patience, 7 * FACTOR) and waits(patience, 1)


def test_time_in_which_the_process_stood_still_does_not_count() -> None:
    patience = Patience(60)
    patience.step()
    # A laptop's sleep, or a scheduler that stops the job for an hour: the watch wakes up late.
    assert not patience.wait(3600.0, 1.0) and patience.idle == 2.0
    # A machine that gives the watch a core once in ten seconds.
    assert not any([patience.wait(10.0, 1.0) for _ in range(29)])


def test_a_state_that_takes_long_to_write_does_not_count() -> None:
    fired = threading.Event()
    with Watchdog(0.1 / 60, leave=lambda code: fired.set()) as watchdog:
        watchdog.step()
        with watchdog.excused():
            assert not fired.wait(1.0)  # ten times the limit
        assert watchdog.patience is not None and watchdog.patience.idle == 0
    assert not fired.wait(0.5)  # nor does what comes after the loop


@pytest.mark.parametrize(("ranks", "expected"), [(1, EXIT_SAVED), (2, EXIT_HUNG)])
def test_a_hang_ends_with_the_stacks_and_the_exit_code(
    ranks: int, expected: int, capfd: pytest.CaptureFixture[str]
) -> None:
    codes: list[int] = []
    fired = threading.Event()
    with Watchdog(0.1 / 60, ranks - 1, ranks, leave=lambda code: (codes.append(code), fired.set())):
        assert fired.wait(300)
    said = capfd.readouterr().err
    assert codes == [expected] and f"hang: rank {ranks - 1} made no step for 0" in said
    assert "test_a_hang_ends_with_the_stacks" in said and "test_watchdog.py" in said


def test_a_watched_run_is_the_same_run(tmp_path: Path) -> None:
    plain, watched = Run(tmp_path / "plain"), Run(tmp_path / "watched")
    plain.go()
    loop = watched.loop()
    loop.watchdog = Watchdog(30, leave=lambda code: pytest.fail("it made steps"))
    loop.run()
    assert plain.weights == watched.weights and loop.watchdog.patience is not None
    assert not loop.watchdog.patience.is_first


def test_ranks_that_hang_write_their_stacks_and_ask_to_be_continued(tmp_path: Path, repository: Path) -> None:
    launch = [
        sys.executable,
        "-m",
        "snakemake_executor_plugin_submitit.launch",
        "--nodes",
        "1",
        "--tasks-per-node",
        "2",
    ]
    rank = ["--", sys.executable, "-m", "tests.unit.train.hanging_rank", str(tmp_path)]
    done = subprocess.run([*launch, *rank], cwd=repository, capture_output=True, text=True, timeout=600)
    assert done.returncode == EXIT_SAVED, done.stderr
    assert "hang: rank 1 made no step" in done.stderr and "in batch" in done.stderr
    # The other waits for it in a sum over ranks, or has lost it already.
    assert "hang: rank 0 made no step" in done.stderr or "onnection" in done.stderr


@pytest.mark.parametrize("accumulate", [1, 3])
def test_a_failing_rank_leaves_the_process_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    ranks = Ranks(0, 2, 0, torch.device("cpu"))
    monkeypatch.setattr(job, "join_ranks", lambda gpus: ranks)
    asked, _ = tiny_job(tmp_path)
    asked.resources["train"]["accumulate"] = accumulate  # 3: the batch of 16 cannot be cut so
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    with pytest.raises(TrainingError, match="no step" if accumulate == 1 else "not a multiple"), job.open_job(asked):
        raise TrainingError("no step")
    assert not dist.is_initialized()
