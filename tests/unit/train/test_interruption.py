"""A reduced run of benchmarks/training_exactness.py: killed or told to stop anywhere, a run ends with the same bits."""

import subprocess
import sys
from pathlib import Path

import pytest

from clip_scaling.records.files import read_json


@pytest.mark.slow
def test_killed_and_stopped_runs_end_with_the_weights_of_an_undisturbed_one(repository: Path, tmp_path: Path) -> None:
    script, report = repository / "benchmarks/training_exactness.py", tmp_path / "report.json"
    options = ["--kills", "3", "--stops", "2", "--without-ranks", "--json", str(report)]
    done = subprocess.run([sys.executable, str(script), *options], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    found = read_json(report)
    assert (found["SIGKILL"]["same"], found["USR2"]["same"], found["different"]) == (3, 2, 0)
    assert found["USR2"]["continued"] == 2  # a stopped run has saved its state
