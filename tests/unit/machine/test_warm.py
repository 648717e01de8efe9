"""A script that goes on as a fork of a warm interpreter is, for all that wait for it, the process that was started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from clip_scaling.machine import parent, warm

pytestmark = pytest.mark.skipif(not warm.can_be_warm(), reason="needs pidfds")
SECONDS = 180  # on a machine that may be busy

SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from clip_scaling.machine.warm import hand_over
from clip_scaling.train import signals

def main():
    what = sys.argv[1]
    if what == "show":
        is_warm = "statistics" in sys.modules
        print(sys.argv[2], os.getcwd(), os.environ["GREETING"], sys.stdin.read(), is_warm, flush=True)
        print("an error", file=sys.stderr)
        sys.exit(7)
    if what == "die":
        os.kill(os.getpid(), int(sys.argv[2]))
    signals.listen()
    Path(sys.argv[2]).write_text(str(os.getpid()))
    while what == "sleep" or signals.received() is None:
        time.sleep(0.02)
    print(signals.received())
    sys.exit(75)

if __name__ == "__main__":
    hand_over(is_listening=True, modules=["statistics", "clip_scaling.records.files"])
    main()
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("warm") / "script.py"
    path.write_text(SCRIPT)
    return path


@pytest.fixture
def started() -> Iterator[None]:
    """As while Snakemake runs: this process is the driver."""
    with warm.warm_folder():
        yield


def start(script: Path, *arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, script, *map(str, arguments)],
        env=os.environ | {"GREETING": "hello"} | environment,
        cwd=script.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def pid_in(file: Path) -> int:
    """The process that a script says it is, once it has begun."""
    deadline = time.monotonic() + SECONDS
    while not (file.exists() and file.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(file.read_text())


def is_gone(pid: int) -> bool:
    """Wait for its end."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.02)
    return False


def test_the_fork_has_arguments_folder_environment_and_streams_of_its_job(started: None, script: Path) -> None:
    job = start(script, "show", "a b")
    output, errors = job.communicate("typed", timeout=SECONDS)
    assert output.split(" ", 2)[:2] == ["a", "b"]
    assert output.split() == ["a", "b", str(script.parent), "hello", "typed", "True"]
    assert errors == "an error\n"
    assert job.returncode == 7


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_job_ends_by_the_signal_that_ended_its_fork(started: None, script: Path, number: int) -> None:
    job = start(script, "die", str(int(number)))
    job.communicate(timeout=SECONDS)
    assert job.returncode == -number


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT])
def test_signals_reach_the_fork(started: None, script: Path, tmp_path: Path, number: signal.Signals) -> None:
    job = start(script, "wait", tmp_path / "pid")
    assert pid_in(tmp_path / "pid") != job.pid
    job.send_signal(number)
    assert job.communicate(timeout=SECONDS)[0] == f"{number.name}\n"
    assert job.returncode == 75


def test_a_signal_before_the_fork_has_begun_is_not_lost(started: None, script: Path, tmp_path: Path) -> None:
    """Another environment needs another interpreter, which begins first."""
    job = start(script, "wait", tmp_path / "pid", GREETING="good morning")
    while (
        not (signals := Path(f"/proc/{job.pid}/status")).exists()
        or f"SigBlk:\t{0:016x}" in signals.read_text().splitlines()
    ):
        time.sleep(0.01)
    job.send_signal(signal.SIGUSR2)
    assert job.communicate(timeout=SECONDS)[0] == "SIGUSR2\n"
    assert job.returncode == 75


def test_a_killed_job_takes_its_fork_along(started: None, script: Path, tmp_path: Path) -> None:
    job = start(script, "sleep", tmp_path / "pid")
    fork = pid_in(tmp_path / "pid")
    job.kill()
    job.communicate()
    assert is_gone(fork)


def test_a_killed_interpreter_takes_its_forks_along_and_the_job_fails(script: Path, tmp_path: Path) -> None:
    with warm.warm_folder():
        job = start(script, "sleep", tmp_path / "pid")
        fork = pid_in(tmp_path / "pid")
        interpreter = int(Path(f"/proc/{fork}/stat").read_text().rsplit(")", 1)[1].split()[1])
        os.kill(interpreter, signal.SIGKILL)
        errors = job.communicate(timeout=SECONDS)[1]
    assert is_gone(fork) and job.returncode == 1
    assert "the interpreter that this job was a fork of has ended" in errors


DRIVER = """
import os, subprocess, sys
from clip_scaling.machine.warm import warm_folder
with warm_folder():
    job = subprocess.Popen([sys.executable, *sys.argv[1:]])
    print(os.environ["CLIP_SCALING_WARM"].rpartition(":")[0], flush=True)
    job.wait()
"""


def test_interpreters_end_with_a_killed_driver_and_their_last_job(script: Path, tmp_path: Path) -> None:
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, script, "wait", tmp_path / "pid"], stdout=subprocess.PIPE, text=True
    )
    fork = pid_in(tmp_path / "pid")
    interpreter = int(Path(f"/proc/{fork}/stat").read_text().rsplit(")", 1)[1].split()[1])
    driver.kill()
    assert driver.stdout is not None
    folder = Path(driver.stdout.readline().strip())
    time.sleep(0.3)
    assert not is_ended(fork) and not is_ended(interpreter)  # the job goes on, as jobs of a killed driver do
    os.kill(fork, signal.SIGUSR1)
    assert is_gone(fork) and is_gone(interpreter)
    assert not folder.exists()
    driver.communicate()


def is_ended(pid: int) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, 0)
        return False
    return True


@pytest.mark.parametrize("environment", [{warm.WARM: ""}, {warm.WARM: "/nowhere:1"}, {"WORLD_SIZE": "2"}])
def test_without_a_warm_interpreter_a_script_runs_by_itself(
    started: None, script: Path, environment: dict[str, str]
) -> None:
    job = start(script, "show", "a", **environment)
    assert job.communicate("typed", timeout=SECONDS)[0].split()[-1] == "False"
    assert job.returncode == 7


def test_what_is_imported_first_starts_no_thread_and_touches_no_gpu() -> None:
    """Otherwise a fork could have no CUDA context, or wait for a lock that no thread will give back."""
    code = """
import importlib, threading, torch
def refuse(*arguments):
    raise AssertionError("a GPU was asked for")
for name in ("_cuda_init", "_cuda_getDeviceCount"):
    if hasattr(torch._C, name):
        setattr(torch._C, name, refuse)
from clip_scaling.machine.warm import MODULES
for name in MODULES[1:]:
    importlib.import_module(name)
assert threading.active_count() == 1
assert not torch.cuda.is_initialized()
"""
    subprocess.run([sys.executable, "-c", "import clip_scaling.models.fast_import" + code], check=True)


def test_code_that_has_changed_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "module.py"
    file.write_text("")
    module = ModuleType("module")
    module.__file__ = str(file)
    monkeypatch.setattr(parent, "HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "module", module)
    before = parent.code_times()
    assert parent.code_times() == before == {str(file): file.stat().st_mtime_ns}
    os.utime(file, ns=(1, 1))
    assert parent.code_times() != before


def test_only_what_is_read_at_an_import_needs_another_interpreter() -> None:
    plain = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "0", "PWD": "/a"}
    assert warm.key_of(plain) == warm.key_of(plain | {"CUDA_VISIBLE_DEVICES": "3", "PWD": "/b"})
    assert warm.key_of(plain) != warm.key_of(plain | {"OMP_NUM_THREADS": "2"})
