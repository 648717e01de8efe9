import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from clip_scaling.data.workers import ordered_map
from clip_scaling.errors import DataError


def square(number: int) -> int:
    return number * number


def die_of_a_signal(number: int) -> int:
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def fail(number: int) -> int:
    raise ValueError(str(number))


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_the_items_order(workers: int) -> None:
    with ordered_map(workers) as mapped:
        assert list(mapped(square, range(7))) == [0, 1, 4, 9, 16, 25, 36]


def test_a_worker_that_was_killed_is_told_and_waited_for_no_longer() -> None:
    with pytest.raises(DataError, match="a worker process was killed"), ordered_map(2) as mapped:
        list(mapped(die_of_a_signal, range(4)))


def test_an_error_in_a_worker_is_raised_here() -> None:
    with pytest.raises(ValueError, match="0"), ordered_map(2) as mapped:
        list(mapped(fail, range(4)))


@pytest.mark.timeout(60)
def test_workers_end_where_sigterm_is_ignored_as_in_a_job_on_a_cluster(repository: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from clip_scaling.data.workers import ordered_map\n"
        "if __name__ == '__main__':\n"
        "    with ordered_map(2) as mapped:\n"
        "        print(sum(mapped(abs, range(100))))\n"
    )
    command = f"trap '' TERM; {sys.executable} {script}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=50, check=True)
    assert done.stdout == "4950\n"


@pytest.mark.timeout(60)
def test_a_killed_worker_is_reported_where_sigterm_is_ignored(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal, time\n"
        "from clip_scaling.data.workers import ordered_map\n"
        "from clip_scaling.errors import run_script\n"
        "def one(number):\n"
        "    if number == 0:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    time.sleep(1000)\n"
        "def main():\n"
        "    with ordered_map(2) as mapped:\n"
        "        list(mapped(one, range(2)))\n"
        "if __name__ == '__main__':\n"
        "    run_script(main)\n"
    )
    command = f"trap '' TERM; {sys.executable} {script}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (1, "")
    assert "DataError: a worker process was killed" in done.stderr and "Traceback" not in done.stderr
