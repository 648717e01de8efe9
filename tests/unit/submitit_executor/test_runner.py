"""The callable inside a job: exit codes, signals, events."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.runner import (
    Outcome,
    Runner,
    events_path,
    read_events,
    started_path,
    stop_reason,
)
from snakemake_executor_plugin_submitit.slurm import JobTimes


def runner(command: str, folder: Path) -> Runner:
    return Runner(command, str(folder), str(folder), "token", 0, 30, continuations=0, max_continuations=2)


def run_as_job(command: str, folder: Path) -> subprocess.Popen[bytes]:
    """Run it as submitit's local executor does: unpickled in a process of its own."""
    folder.mkdir(exist_ok=True)
    (folder / "runner.pkl").write_bytes(pickle.dumps(runner(command, folder)))
    code = (
        "import pickle; outcome = pickle.load(open('runner.pkl', 'rb'))();"
        "pickle.dump(outcome, open('outcome.pkl', 'wb'))"
    )
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    env |= {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "11"}
    return subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=env)


def outcome(folder: Path, running: subprocess.Popen[bytes]) -> Outcome:
    assert running.wait(timeout=200) == 0
    found = pickle.loads((folder / "outcome.pkl").read_bytes())
    assert isinstance(found, Outcome)
    return found


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 200
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("command", "exit_code"),
    [
        ("true", 0),
        # What counts is the code of the rule's shell, which the Snakemake around it turns into 1.
        ("bash -c 'exit 75'; exit 1", 75),
        ("bash -c 'exit 3'; exit 1", 3),
        ("bash -c 'set -o pipefail; (exit 75) | cat'; exit 1", 75),
        # A script that the rule's shell starts, and forgives, does not count.
        ("bash -c 'bash -c \"exit 75\" || exit 4'; exit 1", 4),
        # In a group one member saved and another failed.
        ("bash -c 'exit 75'; bash -c 'exit 2'; exit 1", 2),
        ("exit 1", 1),
    ],
)
def test_the_exit_code_is_that_of_the_rules_shell(command: str, exit_code: int, tmp_path: Path) -> None:
    assert outcome(tmp_path, run_as_job(command, tmp_path)).exit_code == exit_code


def test_a_job_that_is_killed_reports_the_signal(tmp_path: Path) -> None:
    found = outcome(tmp_path, run_as_job("kill -9 $$", tmp_path))
    assert (found.exit_code, found.signal) == (137, 9)


@pytest.mark.parametrize("number", [signal.SIGUSR2, signal.SIGTERM])
def test_the_request_to_save_reaches_the_program_and_nothing_dies_of_it(number: signal.Signals, tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text(
        "import pathlib, signal, sys, time\n"
        "stop = []\n"
        "signal.signal(signal.SIGUSR2, lambda *_: stop.append(1))\n"
        "pathlib.Path('ready').touch()\n"
        "while not stop: time.sleep(0.02)\n"
        "print('saved'); sys.exit(75)\n"
    )
    command = f"bash -c 'set -o pipefail; {sys.executable} -u train.py | tee log'; exit 1"
    running = run_as_job(command, tmp_path)
    wait_for(tmp_path / "ready")
    running.send_signal(number)
    if number == signal.SIGTERM:  # a cancelled job saves, and leaves no report
        assert running.wait(timeout=200) == 143
    else:
        assert outcome(tmp_path, running).saved
    assert (tmp_path / "log").read_text() == "saved\n"
    assert (tmp_path / "11_events.jsonl").read_text().count("saved") == 1


def test_a_program_that_cannot_save_goes_on_to_its_end(tmp_path: Path) -> None:
    running = run_as_job("touch ready; sleep 1", tmp_path)
    wait_for(tmp_path / "ready")
    running.send_signal(signal.SIGUSR2)
    assert outcome(tmp_path, running).exit_code == 0


def test_a_job_leaves_its_id_for_a_driver_that_died_too_early(tmp_path: Path) -> None:
    outcome(tmp_path, run_as_job("true", tmp_path))
    assert started_path(tmp_path, "token", 0).read_text() == "11"


@pytest.mark.parametrize(
    ("times", "reason"),
    [
        (JobTimes("RUNNING", end=1100.0, preempted=None), "time limit"),
        # Slurm may send the signal up to a minute early: 30 s of delay and 60 s.
        (JobTimes("RUNNING", end=1090.0, preempted=None), "time limit"),
        (JobTimes("RUNNING", end=1091.0, preempted=None), "signal"),
        (JobTimes("RUNNING", end=1010.0, preempted=1005.0), "preemption"),
        (JobTimes("CANCELLED", end=1000.0, preempted=None), "cancelled"),
        (None, "signal"),
    ],
)
def test_slurms_own_record_says_why_it_asked(times: JobTimes | None, reason: str) -> None:
    delay = 30 if times is None or times.end != 1100.0 else 40
    assert stop_reason(times, now=1000.0, delay_seconds=delay, number=signal.SIGUSR2) == reason


def test_a_sigterm_that_is_neither_cancellation_nor_limit_is_a_preemption() -> None:
    running = JobTimes("RUNNING", end=9000.0, preempted=None)
    assert stop_reason(running, now=1000.0, delay_seconds=30, number=signal.SIGTERM) == "preemption"
    cancelled = JobTimes("COMPLETING", end=1000.0, preempted=None)
    assert stop_reason(cancelled, now=1000.0, delay_seconds=30, number=signal.SIGTERM) == "cancelled"


def test_a_task_of_an_array_requeues_itself_and_not_the_array(tmp_path: Path) -> None:
    commands = tmp_path / "commands"
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {commands}\necho JobState=RUNNING\n')
    scontrol.chmod(0o755)
    (tmp_path / "runner.pkl").write_bytes(pickle.dumps(runner("bash -c 'exit 75'; exit 1", tmp_path)))
    env = os.environ | {
        "PATH": f"{scontrol.parent}:{os.environ['PATH']}",
        "SUBMITIT_EXECUTOR": "slurm",
        "SLURM_JOB_ID": "7",
        "SLURM_ARRAY_JOB_ID": "7",
        "SLURM_ARRAY_TASK_ID": "3",
    }
    code = "import pickle; pickle.load(open('runner.pkl', 'rb'))()"
    assert subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env).returncode == 0
    assert commands.read_text() == "requeue 7_3\n"


def test_half_an_event_is_passed_over(tmp_path: Path) -> None:
    events_path(tmp_path, "7_0").write_text('{"what": "saved", "reason": "x", "time": 1.0}\n{"what": "sa')
    assert [event.what for event in read_events(tmp_path, "7_0")] == ["saved"]
