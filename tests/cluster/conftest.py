"""One Slurm cluster for all tests of this folder. `make test-cluster` sets CLIP_SCALING_TEST_CLUSTER."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from .slurm_cluster import Cluster

if not os.environ.get("CLIP_SCALING_TEST_CLUSTER"):
    collect_ignore_glob = ["test_*.py"]

WAIT_SECONDS = 240


@contextlib.contextmanager
def running_cluster(has_accounting: bool = True) -> Iterator[Cluster]:
    """A Slurm, which SLURM_CONF names meanwhile; all of it ends with the block."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    running = Cluster(folder, has_accounting)
    began = time.monotonic()
    running.start()
    print(f"cluster: started in {time.monotonic() - began:.1f} s")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
            yield running
    finally:
        running.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A running Slurm with accounting."""
    with running_cluster() as running:
        yield running


@contextlib.contextmanager
def work_folder(path: Path) -> Iterator[Path]:
    """The folder; drivers and jobs that are left in it end with the block."""
    yield path
    subprocess.run(["scancel", "--user=root"], check=True)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and Path(process.cwd()).is_relative_to(path):
                process.kill()


@pytest.fixture
def folder(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """A work folder on the cluster with accounting."""
    with work_folder(tmp_path) as path:
        yield path


class Driver:
    """A snakemake in the background, its output in a file."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.log = folder / f"driver-{len(list(folder.glob('driver-*')))}.txt"
        env = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
        with open(self.log, "w") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "snakemake", *arguments],
                cwd=folder,
                env=env,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def text(self) -> str:
        """What it printed so far."""
        return self.log.read_text()

    def ended(self) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.process.wait(timeout=1800)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"snakemake did not end:\n{self.text()[-4000:]}")


GENERIC = ("--executor", "submitit", "--jobs", "50", "--nolock", "--rerun-incomplete", "--submitit-status-seconds", "5")


def wait_for(condition: Callable[[], Any], what: str, driver: Driver | None = None) -> Any:
    """The condition's value as soon as it is true; fails at once where the driver has ended without it."""
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        value = condition()
        if value:
            return value
        if driver is not None and driver.process.poll() is not None:
            pytest.fail(f"{what}: the driver ended before:\n{driver.text()[-6000:]}")
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {WAIT_SECONDS} s")
        time.sleep(0.25)
