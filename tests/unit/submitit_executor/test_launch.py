"""The ranks' launcher: what each rank finds, and what comes back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.exits import CONTINUE, catches, overall_exit_code
from snakemake_executor_plugin_submitit.launch import (
    launcher,
    master_address,
    srun_command,
)


def launch(code: str, nodes: int = 1, tasks_per_node: int = 2) -> subprocess.Popen[str]:
    """Start the launcher as a rule's shell does, outside Slurm, with a Python script as the ranks' command."""
    prefix = launcher(nodes, tasks_per_node).split()
    env = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    return subprocess.Popen(
        [sys.executable, *prefix[1:], sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=env
    )


def test_one_rank_needs_no_launcher() -> None:
    assert launcher(1, 1) == ""


def test_more_ranks_get_a_prefix_for_the_rules_command() -> None:
    assert launcher(2, 4) == ("python -m snakemake_executor_plugin_submitit.launch --nodes 2 --tasks-per-node 4 --")


def test_no_ranks_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        launcher(0, 4)


def test_on_one_machine_every_rank_finds_its_place_and_one_meeting_point() -> None:
    names = ["RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"]
    done = launch(f"import os; print(' '.join(os.environ[n] for n in {names}) + chr(10), end='')", 2, 2)
    lines = sorted(line.split() for line in done.communicate()[0].splitlines())
    port = lines[0][-1]
    assert lines == [[str(rank), "4", str(rank), "4", "127.0.0.1", port] for rank in range(4)]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [([0, 0], 0), ([75, 0], 75), ([75, 1, 75], 1), ([3, 1], 3), ([0, 137], 137), ([76, 1, 137], 75), ([1, 76], 75)],
)
def test_a_failure_outweighs_a_save_and_a_save_outweighs_success(codes: list[int], expected: int) -> None:
    assert overall_exit_code(codes) == expected


def test_the_exit_code_of_the_ranks_is_passed_on() -> None:
    done = launch("import os, sys; sys.exit(7 if os.environ['RANK'] == '1' else 0)")
    done.communicate()
    assert done.returncode == 7


def test_ranks_that_wait_for_a_failed_one_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    module = "import sys; import snakemake_executor_plugin_submitit.launch as l; l.SECONDS_AFTER_FAILURE = 0.2;"
    rank = "import os, time; os._exit(4) if os.environ['RANK'] == '0' else time.sleep(600)"
    argv = f"['--nodes', '1', '--tasks-per-node', '2', '--', sys.executable, '-c', {rank!r}]"
    done = subprocess.run([sys.executable, "-c", f"{module} sys.exit(l.main({argv}))"], timeout=200)
    assert done.returncode == 4


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM])
def test_a_signal_reaches_every_rank(number: signal.Signals) -> None:
    code = f"""
import signal, sys, time
signal.signal({int(number)}, lambda *_: sys.exit({CONTINUE}))
print("ready" + chr(10), end="", flush=True)
time.sleep(600)
"""
    running = launch(code)
    assert running.stdout is not None
    assert [running.stdout.readline().strip() for _ in range(2)] == ["ready", "ready"]
    running.send_signal(number)
    running.communicate(timeout=200)
    assert running.returncode == CONTINUE


def test_a_rank_without_a_handler_yet_outlives_the_request_to_save() -> None:
    running = launch("import time; print('up' + chr(10), end='', flush=True); time.sleep(0.5)")
    assert running.stdout is not None
    running.stdout.readline(), running.stdout.readline()
    running.send_signal(signal.SIGUSR2)
    time.sleep(0.1)
    running.send_signal(signal.SIGUSR2)
    running.communicate(timeout=200)
    assert running.returncode == 0


def test_srun_gets_one_task_a_rank_and_shares_out_the_cpus() -> None:
    env = {"SLURM_JOB_ID": "9", "SLURM_JOB_NUM_NODES": "2", "SLURM_CPUS_PER_TASK": "48", "SLURM_GPUS_ON_NODE": "4"}
    command = srun_command(2, 4, Path("/shared/codes"), env)
    assert command[:10] == [
        "srun",
        "--overlap",
        "--nodes=2",
        "--ntasks=8",
        "--ntasks-per-node=4",
        "--cpus-per-task=12",
        "--distribution=block",
        "--kill-on-bad-exit=0",
        "--wait=0",
        "--gpus-per-node=4",
    ]
    assert command[-1] == "/shared/codes"


def test_an_allocation_that_is_too_small_is_named() -> None:
    with pytest.raises(SystemExit, match="2 nodes are asked for, but Slurm job 9 has 1"):
        srun_command(2, 4, Path("codes"), {"SLURM_JOB_ID": "9", "SLURM_JOB_NUM_NODES": "1"})


def test_the_meeting_point_is_a_name_that_resolves() -> None:
    env = {"SLURMD_NODENAME": "n1"}
    assert master_address(env, lambda name: True) == "n1"
    assert master_address(env, lambda name: name != "n1") != "n1"
    assert master_address(env | {"MASTER_ADDR": "n1i"}, lambda name: True) == "n1i"
    assert master_address({}, lambda name: False) == "127.0.0.1"


def test_a_process_is_known_to_have_a_handler_or_not() -> None:
    before = signal.signal(signal.SIGUSR2, lambda *_: None)
    try:
        assert catches(os.getpid(), signal.SIGUSR2)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        assert not catches(os.getpid(), signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)


def test_a_rank_that_is_stopped_is_ended_after_those_that_hung_with_it() -> None:
    module = "import sys; import snakemake_executor_plugin_submitit.launch as l; l.SECONDS_AFTER_HANG = 0.2;"
    rank = "import os, signal; os._exit(76) if os.environ['RANK'] == '0' else os.kill(os.getpid(), signal.SIGSTOP)"
    argv = f"['--nodes', '1', '--tasks-per-node', '2', '--', sys.executable, '-c', {rank!r}]"
    done = subprocess.run([sys.executable, "-c", f"{module} sys.exit(l.main({argv}))"], timeout=200)
    assert done.returncode == CONTINUE
