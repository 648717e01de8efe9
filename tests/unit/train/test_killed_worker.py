"""A worker that is killed, as by the kernel for its memory, ends the run with an error, wherever the run then is."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from clip_scaling.records.filenames import HEARTBEAT

from .tiny_cell import tiny_command, tiny_job


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_worker_ends_the_run_with_an_error(repository: Path, tmp_path: Path) -> None:
    command = tiny_command(repository, *tiny_job(tmp_path, samples="9M", workers=2))
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        while not (tmp_path / "resume" / HEARTBEAT).is_file():
            assert run.poll() is None, run.communicate()[0].decode()
            time.sleep(0.1)
        found = psutil.Process(run.pid).children()
        assert len(found) == 2
        os.kill(found[0].pid, signal.SIGKILL)
        text = run.communicate(timeout=200)[0].decode()
    finally:
        for process in [*psutil.Process(run.pid).children(), run] if run.poll() is None else []:
            process.kill()
    assert run.returncode == 1
    assert "DataError" in text and "a worker process was killed, most likely for its memory" in text
    assert "Traceback" not in text
    assert not any(process.is_running() for process in found)
