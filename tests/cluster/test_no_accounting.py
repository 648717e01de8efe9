"""A Slurm without accounting: squeue alone tells of jobs that end, fail, or are gone with their node."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from .conftest import GENERIC, Driver, running_cluster, wait_for, work_folder
from .slurm_cluster import Cluster
from .test_interruption import TRAINER, saved_step, starts, weight_after

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def bare() -> Iterator[Cluster]:
    with running_cluster(has_accounting=False) as running:
        yield running


@pytest.fixture
def bare_folder(bare: Cluster, tmp_path: Path) -> Iterator[Path]:
    with work_folder(tmp_path) as path:
        yield path


def write_training(folder: Path) -> None:
    (folder / "train.py").write_text(TRAINER)
    (folder / "Snakefile").write_text(
        "rule all:\n    input: 'a.txt', 'b.txt'\n"
        "rule train:\n    output: '{name}.txt'\n    resources: runtime=10, cpus_per_task=8, mem_mb=600\n"
        "    shell: 'python train.py {wildcards.name} 150 0.1'\n"
    )


def test_this_cluster_has_no_accounting(bare: Cluster) -> None:
    assert subprocess.run(["sacct"], capture_output=True, env=bare.env).returncode


def test_a_job_that_is_lost_with_its_node_goes_on_at_another(bare: Cluster, bare_folder: Path) -> None:
    write_training(bare_folder)
    driver = Driver(bare_folder, *GENERIC)
    node = wait_for(lambda: saved_step(bare_folder, "a") and starts(bare_folder, "a")[0][1], "a saved state", driver)
    bare.kill_node(node)
    try:
        assert driver.ended() == 0, driver.text()[-6000:]
    finally:
        bare.start_node(node)
    for name in "ab":
        assert (bare_folder / f"{name}.txt").read_text() == f"150 {weight_after(150)!r}\n"
    first, second = starts(bare_folder, "a")
    assert first[1] != second[1] and int(second[2]) > 0


def test_a_job_that_is_killed_without_a_word_is_seen_within_a_minute(bare: Cluster, bare_folder: Path) -> None:
    write_training(bare_folder)
    driver = Driver(bare_folder, *GENERIC, "--submitit-max-resubmissions", "0", "a.txt")
    job = wait_for(lambda: saved_step(bare_folder, "a") and starts(bare_folder, "a")[0][0], "a saved state", driver)
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("SLURM_JOB_ID") == job:
                process.send_signal(signal.SIGKILL)
        except psutil.Error:
            continue
    killed = time.monotonic()
    assert driver.ended() == 1
    assert time.monotonic() - killed < 60
    assert f"job {job}" in driver.text() and "FAILED" in driver.text()


def test_a_failure_is_told_with_its_exit_code_and_last_lines(bare: Cluster, bare_folder: Path) -> None:
    (bare_folder / "Snakefile").write_text(
        "rule broken:\n    output: 'a'\n    resources: runtime=5, mem_mb=600\n    shell: 'echo no images >&2; exit 3'\n"
    )
    driver = Driver(bare_folder, *GENERIC)
    assert driver.ended() == 1
    assert "exit code 3" in driver.text() and "no images" in driver.text()
