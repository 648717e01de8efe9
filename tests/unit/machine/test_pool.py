"""Jobs of one machine get GPUs of their own."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clip_scaling.errors import TrainingError
from clip_scaling.machine import pool
from clip_scaling.machine.gpus import Gpu

TWO = [Gpu("0", "GPU-a"), Gpu("1", "GPU-b")]
WHOLE, HALF, QUARTER = pool.SLOTS, pool.SLOTS // 2, pool.SLOTS // 4


def took(folder: Path, count: int, slots: int, gpus: list[Gpu] = TWO) -> tuple[str, list[int]]:
    found = pool.take(folder, gpus, count, slots)
    return (",".join(gpu.token for gpu in found[0]), found[1]) if found else ("", [])


def give_back(held: list[int]) -> None:
    for descriptor in held:
        os.close(descriptor)


def test_two_jobs_get_different_gpus_and_a_third_none_until_one_ends(tmp_path: Path) -> None:
    first, held = took(tmp_path, 1, WHOLE)
    assert (first, took(tmp_path, 1, WHOLE)[0], took(tmp_path, 1, WHOLE)[0]) == ("0", "1", "")
    give_back(held)
    assert took(tmp_path, 1, WHOLE)[0] == "0"


def test_a_job_of_two_gpus_waits_for_both(tmp_path: Path) -> None:
    _, held = took(tmp_path, 1, QUARTER)
    assert took(tmp_path, 2, WHOLE)[0] == ""
    give_back(held)
    assert took(tmp_path, 2, WHOLE)[0] == "0,1"


def test_small_cells_fill_a_gpu_before_they_take_another(tmp_path: Path) -> None:
    assert [took(tmp_path, 1, QUARTER)[0] for _ in range(5)] == ["0", "0", "0", "0", "1"]
    assert took(tmp_path, 1, WHOLE)[0] == ""
    assert [took(tmp_path, 1, HALF)[0], took(tmp_path, 1, HALF)[0]] == ["1", ""]


def test_the_same_gpu_under_another_token_is_held_too(tmp_path: Path) -> None:
    took(tmp_path, 1, WHOLE, [Gpu("1", "GPU-b")])
    assert took(tmp_path, 1, WHOLE, [Gpu("GPU-b", "GPU-b")])[0] == ""


def test_the_folder_is_the_users_alone(tmp_path: Path) -> None:
    made = pool.pool_folder(tmp_path / "pool")
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    assert pool.pool_folder(made) == made
    (tmp_path / "open").mkdir(mode=0o755)
    assert stat.S_IMODE(pool.pool_folder(tmp_path / "open").stat().st_mode) == 0o700
    (tmp_path / "link").symlink_to(made)
    with pytest.raises(TrainingError, match="cannot be a folder of this user alone.*Set TMPDIR"):
        pool.pool_folder(tmp_path / "link")


@pytest.mark.parametrize(("gpus", "cells", "slots"), [(1, 1, 12), (1, 4, 3), (4, 1, 48), (1, 3, 4)])
def test_slots_of_a_job(gpus: int, cells: int, slots: int) -> None:
    assert pool.gpu_slots(gpus, cells) == slots


RUN = """
import sys
from clip_scaling.machine import gpus, pool
gpus.installed_gpus = lambda: tuple(gpus.Gpu(str(n), f"GPU-{n}") for n in range(2))
pool.main(sys.argv[1:])
"""


def start(tmp_path: Path, *command: str, gpus: int = 1, **environment: str) -> subprocess.Popen[str]:
    """A job behind the prefix, on a machine of two GPUs."""
    known = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    return subprocess.Popen(
        [sys.executable, "-c", RUN, "--gpus", str(gpus), "--", *command],
        env=known | {"TMPDIR": str(tmp_path)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(process: subprocess.Popen[str]) -> str:
    return process.communicate(timeout=60)[0].strip()


SHOW = ("sh", "-c", "echo gpu=$CUDA_VISIBLE_DEVICES; exec sleep 60")


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_a_killed_job_gives_its_gpu_back(tmp_path: Path) -> None:
    jobs = [start(tmp_path, *SHOW), start(tmp_path, *SHOW)]
    assert sorted(map(first_line, jobs)) == ["gpu=0", "gpu=1"]
    waiting = start(tmp_path, *SHOW)
    assert first_line(waiting) == "pool: waits for 1 of 2 GPUs"
    jobs[0].kill()
    jobs[0].wait()
    assert first_line(waiting) in ("gpu=0", "gpu=1")
    for process in (*jobs, waiting):
        process.kill()
        process.communicate()


def test_a_signal_ends_the_wait_as_a_saved_run(tmp_path: Path) -> None:
    both = start(tmp_path, *SHOW, gpus=2)
    assert first_line(both) == "gpu=0,1"
    waiting = start(tmp_path, *SHOW)
    first_line(waiting)
    waiting.send_signal(signal.SIGTERM)
    assert (said(waiting), waiting.returncode) == ("", 75)
    both.kill()
    both.communicate()


def test_only_gpus_that_the_user_or_slurm_left_are_taken(tmp_path: Path) -> None:
    show = ("sh", "-c", "echo $CUDA_VISIBLE_DEVICES")
    assert said(start(tmp_path, *show, CUDA_VISIBLE_DEVICES="1")) == "1"
    assert said(start(tmp_path, *show, SLURM_JOB_ID="7", SLURM_JOB_GPUS="1")) == "1"


def test_a_job_whose_gpus_are_not_there_starts_and_says_so_itself(tmp_path: Path) -> None:
    began = time.monotonic()
    assert said(start(tmp_path, "sh", "-c", "echo $CUDA_VISIBLE_DEVICES", gpus=3)) == ""
    assert said(start(tmp_path, "sh", "-c", "echo $CUDA_VISIBLE_DEVICES", CUDA_VISIBLE_DEVICES="")) == ""
    assert time.monotonic() - began < 60


def test_the_prefix_goes_before_that_of_ranks(tmp_path: Path) -> None:
    ranks = (sys.executable, "-m", "snakemake_executor_plugin_submitit.launch", "--nodes", "1", "--tasks-per-node", "2")
    show = ("sh", "-c", "echo $LOCAL_RANK of $CUDA_VISIBLE_DEVICES")
    path = str(Path(pool.__file__).parents[2])
    job = start(tmp_path, *ranks, "--", *show, gpus=2, PYTHONPATH=path, PATH="/usr/bin:/bin")
    assert sorted(said(job).splitlines()) == ["0 of 0,1", "1 of 0,1"]


def test_the_command_keeps_its_exit_code_and_process(tmp_path: Path) -> None:
    job: Any = start(tmp_path, "sh", "-c", "echo $$; exit 7")
    assert (said(job), job.returncode) == (str(job.pid), 7)
