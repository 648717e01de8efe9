"""The executor inside Snakemake, on this machine."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from snakemake.common.tests import TestWorkflowsLocalStorageBase

from snakemake_executor_plugin_submitit import ExecutorSettings

pytestmark = pytest.mark.slow  # a driver and its jobs are several starts of Snakemake

SNAKEFILE = """
rule all:
    input: expand("out/{i}", i=range(2))

rule work:
    input: "recipe.txt"
    output: "out/{i}"
    resources: runtime=5
    shell:
        "echo {wildcards.i} $$ >> started; while [ -e hold ]; do sleep 0.1; done; [ ! -e fail ];"
        " echo {RECIPE} > {output}"
"""


class TestLocal(TestWorkflowsLocalStorageBase):
    __test__ = True

    def get_executor(self) -> str:
        return "submitit"

    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster="local")


class TestDebug(TestLocal):
    def get_executor_settings(self) -> ExecutorSettings:
        return ExecutorSettings(cluster="debug")


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path: Path) -> Iterator[None]:
    """Whatever a test started in its folder ends with it."""
    yield
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and Path(process.cwd()).is_relative_to(tmp_path):
                process.kill()


def start(folder: Path, *arguments: str, recipe: str = "1") -> subprocess.Popen[bytes]:
    """Start snakemake on the local backend; its output goes to a file, which its jobs may hold open."""
    (folder / "Snakefile").write_text(f"RECIPE = {recipe}\n{SNAKEFILE}")
    if not (folder / "recipe.txt").exists():
        (folder / "recipe.txt").write_text("a")
    command = [sys.executable, "-m", "snakemake", "--executor", "submitit", "--submitit-cluster", "local"]
    number = len(list(folder.glob("driver-*")))
    with open(folder / f"driver-{number}", "w") as output:
        driver = subprocess.Popen(
            [*command, "--jobs", "2", "--nolock", "--rerun-incomplete", *arguments],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell starts its background jobs with SIGINT ignored, and the tests may be one.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    (folder / f"output-{driver.pid}").symlink_to(f"driver-{number}")
    return driver


def ended(folder: Path, driver: subprocess.Popen[bytes]) -> str:
    driver.wait(timeout=300)
    return (folder / f"output-{driver.pid}").read_text()


def wait_until_started(folder: Path, count: int) -> None:
    deadline = time.monotonic() + 200
    while not (folder / "started").exists() or len(starts(folder)) < count:
        assert time.monotonic() < deadline, "the jobs did not start"
        time.sleep(0.1)


def starts(folder: Path) -> list[str]:
    return sorted(line.split()[0] for line in (folder / "started").read_text().splitlines())


def killed_driver(folder: Path) -> None:
    """A driver that submitted both jobs, and was killed with -9 while they run."""
    (folder / "hold").touch()
    driver = start(folder)
    wait_until_started(folder, 2)
    driver.send_signal(signal.SIGKILL)
    driver.wait()


def test_a_killed_drivers_jobs_are_followed_not_submitted_again(tmp_path: Path) -> None:
    killed_driver(tmp_path)
    second = start(tmp_path)
    deadline = time.monotonic() + 200
    while (tmp_path / "driver-1").read_text().count("was already submitted") < 2:
        assert second.poll() is None and time.monotonic() < deadline, (tmp_path / "driver-1").read_text()
        time.sleep(0.1)
    (tmp_path / "hold").unlink()
    text = ended(tmp_path, second)
    assert second.returncode == 0, text
    assert starts(tmp_path) == ["0", "1"]


def test_jobs_that_ended_while_no_driver_ran_are_not_run_again(tmp_path: Path) -> None:
    killed_driver(tmp_path)
    (tmp_path / "hold").unlink()
    deadline = time.monotonic() + 200
    while len(list((tmp_path / ".snakemake/submitit").glob("*_0_result.pkl"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    text = ended(tmp_path, start(tmp_path))
    assert "2 of 2 steps" in text or "Nothing to be done" in text or "(100%) done" in text, text
    assert starts(tmp_path) == ["0", "1"]


def test_a_running_job_of_an_older_recipe_is_ended_and_submitted_again(tmp_path: Path) -> None:
    killed_driver(tmp_path)
    second = start(tmp_path, recipe="2")
    wait_until_started(tmp_path, 4)
    (tmp_path / "hold").unlink()
    text = ended(tmp_path, second)
    assert second.returncode == 0, text
    assert (tmp_path / "out/0").read_text() == "2\n"


def test_two_drivers_at_once_submit_each_job_once(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    drivers = [start(tmp_path), start(tmp_path)]
    wait_until_started(tmp_path, 2)
    time.sleep(2)
    (tmp_path / "hold").unlink()
    texts = [ended(tmp_path, driver) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], texts
    assert starts(tmp_path) == ["0", "1"]


def test_an_error_in_the_code_is_shown_and_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "fail").touch()
    running = start(tmp_path)
    text = ended(tmp_path, running)
    assert running.returncode == 1
    assert starts(tmp_path) == ["0", "1"]
    assert "work: out/0: job" in text and "exit code 1" in text and "_0_log.out" in text


def test_ctrl_c_ends_the_jobs_and_detach_leaves_them(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    running = start(tmp_path, "--submitit-detach")
    wait_until_started(tmp_path, 2)
    running.send_signal(signal.SIGINT)
    ended(tmp_path, running)
    assert last_states(tmp_path) == {"submitted"}
    again = start(tmp_path)
    deadline = time.monotonic() + 200
    while (tmp_path / f"output-{again.pid}").read_text().count("was already submitted") < 2:
        assert time.monotonic() < deadline, "the second driver did not find the jobs"
        time.sleep(0.1)
    again.send_signal(signal.SIGINT)
    ended(tmp_path, again)
    assert last_states(tmp_path) == {"cancelled"}
    pids = [int(line.split()[1]) for line in (tmp_path / "started").read_text().splitlines()]
    deadline = time.monotonic() + 200
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "cancelled jobs still run"
        time.sleep(0.1)


def last_states(folder: Path) -> set[str]:
    lines = map(json.loads, (folder / ".snakemake/submitit/ledger.jsonl").read_text().splitlines())
    return set({line["key"]: line["state"] for line in lines}.values())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_job_that_always_wants_to_go_on_is_stopped_at_the_limit(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text(
        "rule again:\n    output: 'a'\n    resources: runtime=5\n    shell: 'echo x >> started; exit 75'\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--executor", "submitit", "--submitit-cluster", "local", "--jobs", "1",
         "--submitit-max-continuations", "1"],
        cwd=tmp_path, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 1
    assert (tmp_path / "started").read_text() == "x\nx\n"
    assert "--submitit-max-continuations" in done.stderr


def test_a_plan_needs_neither_slurm_nor_submitit(tmp_path: Path) -> None:
    (tmp_path / "Snakefile").write_text("rule a:\n    output: 'a'\n    shell: 'touch {output}'\n")
    (tmp_path / "without.py").write_text(
        "import sys; sys.modules['submitit'] = None\nfrom snakemake.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    )
    env = os.environ | {"PATH": str(Path(sys.executable).parent) + ":/bin"}
    planned = subprocess.run(
        [sys.executable, "without.py", "--executor", "submitit", "--jobs", "1", "-n"],
        cwd=tmp_path, env=env, capture_output=True, text=True,
    )  # fmt: skip
    assert planned.returncode == 0, planned.stderr
    run = subprocess.run(
        [sys.executable, "without.py", "--cores", "1"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr


def test_the_local_backend_needs_no_slurm(tmp_path: Path, path_without_slurm: str) -> None:
    (tmp_path / "Snakefile").write_text("rule a:\n    output: 'a'\n    shell: 'touch {output}'\n")
    command = [sys.executable, "-m", "snakemake", "--executor", "submitit", "--jobs", "1", "--submitit-cluster"]
    env = os.environ | {"PATH": path_without_slurm}
    refused = subprocess.run([*command, "slurm"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert refused.returncode and "use --submitit-cluster local" in refused.stderr
    run = subprocess.run([*command, "local"], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert run.returncode == 0 and (tmp_path / "a").exists(), run.stderr
