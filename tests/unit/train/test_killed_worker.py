"""A worker that is killed, as by the kernel for its memory, ends the run with an error, wherever the run then is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from clip_scaling.records.filenames import HEARTBEAT

from .tiny_cell import tiny_command, tiny_job

TWO_RANKS = [
    sys.executable, "-m", "snakemake_executor_plugin_submitit.launch", "--nodes", "1", "--tasks-per-node", "2", "--",
]  # fmt: skip


def workers_of(run: int, ranks: int) -> list[psutil.Process]:
    """The workers of a run's only process, or of its ranks."""
    own = psutil.Process(run)
    return [worker for rank in (own.children() if ranks > 1 else [own]) for worker in rank.children()]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("ranks", [1, 2])
def test_a_killed_worker_ends_the_run_with_an_error(repository: Path, tmp_path: Path, ranks: int) -> None:
    command = tiny_command(repository, *tiny_job(tmp_path, samples="9M", workers=2))
    run = subprocess.Popen(
        [*(TWO_RANKS if ranks > 1 else []), *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        while not (tmp_path / "resume" / HEARTBEAT).is_file():
            assert run.poll() is None, run.communicate()[0].decode()
            time.sleep(0.1)
        found = workers_of(run.pid, ranks)
        assert len(found) == 2 * ranks
        os.kill(found[-1].pid, signal.SIGKILL)  # of the last rank, which writes no files
        text = run.communicate(timeout=200)[0].decode()
    finally:
        for process in [*psutil.Process(run.pid).children(recursive=True), run] if run.poll() is None else []:
            process.kill()
    assert run.returncode == 1
    assert "DataError" in text and "a worker process was killed, most likely for its memory" in text
    assert "Traceback" not in text, text
    assert not any(process.is_running() for process in found)
