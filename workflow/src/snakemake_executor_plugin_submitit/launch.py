"""Start the ranks of one rule's command: the same rule text on a laptop and on several nodes.

In a rule: `params: launcher=launcher(nodes, tasks_per_node)` and `shell: "{params.launcher} python train.py ..."`.
When the rule runs, the launcher uses srun inside a Slurm allocation, and starts the ranks itself elsewhere: there one
machine carries all of them. Every rank finds RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE, MASTER_ADDR and
MASTER_PORT in its environment, as torch.distributed's "env://" expects. Only the standard library is used, so a
Snakefile may import this module.

Signals USR1, USR2 and TERM go on to all ranks. The exit code is 0 when all ranks gave 0; 75 (EX_TEMPFAIL: saved, run
the same command to continue) when some gave 75 and none failed, or when one gave 76 (it made no step for too long);
else that of the rank that failed first.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FrameType

from .exits import CONTINUE, HUNG, catches, overall_exit_code

FORWARDED = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
# Ranks that wait for one that has failed would wait for ever; those that save get longer.
SECONDS_AFTER_FAILURE = 15.0
SECONDS_AFTER_SAVE = 300.0
# Ranks that hang with one that has ended write their stacks first; one that is stopped never ends.
SECONDS_AFTER_HANG = 60.0
# One rank of an srun step. Slurm signals the shell too, so it must outlive the signal to pass the exit code on, and a
# rank that still imports its libraries has no handler yet, and would die of it. The
# code goes through a file because srun itself returns only the highest one, and 75 would hide a failure of 1.
RANK_SHELL = """trap : USR1 USR2 TERM
export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID LOCAL_WORLD_SIZE={tasks_per_node}
codes=$1; shift
(trap '' USR1 USR2; exec "$@")
code=$?
echo $code > $codes/$RANK.new && mv $codes/$RANK.new $codes/$RANK
exit $code"""


def launcher(nodes: int, tasks_per_node: int) -> str:
    """The prefix of a shell command that starts nodes x tasks_per_node ranks; empty for one rank."""
    if nodes < 1 or tasks_per_node < 1:
        raise ValueError(f"nodes={nodes}, tasks_per_node={tasks_per_node}: both must be at least 1.")
    if nodes * tasks_per_node == 1:
        return ""
    return f"python -m {__spec__.name} --nodes {nodes} --tasks-per-node {tasks_per_node} --"


def rank_environments(ranks: int, master_port: int) -> list[dict[str, str]]:
    """What each rank on one machine finds in its environment."""
    return [
        {
            "RANK": str(rank),
            "WORLD_SIZE": str(ranks),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(master_port),
        }
        for rank in range(ranks)
    ]


def srun_command(nodes: int, tasks_per_node: int, codes: Path, env: Mapping[str, str]) -> list[str]:
    """srun with one task a rank on the allocation that the environment describes; the rank's command follows.

    codes: a folder, seen by all nodes, where each rank leaves its exit code in a file of its rank's name.
    """
    allocated = int(env.get("SLURM_JOB_NUM_NODES", env.get("SLURM_NNODES", "1")))
    if allocated < nodes:
        raise SystemExit(
            f"launch: {nodes} nodes are asked for, but Slurm job {env['SLURM_JOB_ID']} has {allocated}. "
            f"Give the rule `resources: nodes={nodes}`."
        )
    # Since Slurm 22.05 a step takes one CPU a task unless told.
    cpus = int(env.get("SLURM_CPUS_PER_TASK", env.get("SLURM_CPUS_ON_NODE", "1")))
    command = [
        "srun",
        "--overlap",  # the allocation is already held by the step that runs this launcher
        f"--nodes={nodes}",
        f"--ntasks={nodes * tasks_per_node}",
        f"--ntasks-per-node={tasks_per_node}",
        f"--cpus-per-task={max(1, cpus // tasks_per_node)}",
        "--distribution=block",  # ranks 0..T-1 on the first node: neighbours talk most
        "--kill-on-bad-exit=0",
        "--wait=0",
    ]
    if gpus := env.get("SLURM_GPUS_ON_NODE"):
        command.append(f"--gpus-per-node={gpus}")  # all of a node's GPUs to each of its ranks: LOCAL_RANK picks
    return [*command, "sh", "-c", RANK_SHELL.format(tasks_per_node=tasks_per_node), "sh", str(codes)]


def master_address(env: Mapping[str, str], resolves: Callable[[str], bool]) -> str:
    """Where rank 0 listens: MASTER_ADDR where it is set, else this node, which is the allocation's first one."""
    for name in (env.get("MASTER_ADDR"), env.get("SLURMD_NODENAME"), socket.gethostname()):
        if name and resolves(name):
            return name
    return "127.0.0.1"


def run_here(command: list[str], ranks: int) -> int:
    """Start all ranks on this machine; return their overall exit code."""
    children = []
    for environment in rank_environments(ranks, _free_port()):
        env = os.environ | {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")} | environment
        children.append(subprocess.Popen(command, env=env, preexec_fn=_ignore_until_handled))
    _forward_signals(children)
    ended: dict[int, int] = {}
    deadline = _Deadline()
    while len(ended) < ranks:
        for rank, child in enumerate(children):
            code = child.poll()
            if code is not None and rank not in ended:
                ended[rank] = _positive(code)
                _report(rank, ended[rank])
        if deadline.passed(ended.values()):
            for child in children:
                child.kill()
        time.sleep(0.05)
    return overall_exit_code(ended.values())


def run_on_slurm(command: list[str], nodes: int, tasks_per_node: int) -> int:
    """Start the ranks as one srun step of this allocation; return their overall exit code."""
    env = dict(os.environ)
    env["MASTER_ADDR"] = master_address(env, _resolves)
    env["MASTER_PORT"] = str(_free_port())
    ranks = nodes * tasks_per_node
    with tempfile.TemporaryDirectory(prefix=".ranks-", dir=Path.cwd()) as folder:
        codes = Path(folder)
        # srun's handlers would be lost to signals that it inherits as ignored.
        step = subprocess.Popen(
            [*srun_command(nodes, tasks_per_node, codes, env), *command], env=env, preexec_fn=_default_signals
        )
        _forward_signals([step])
        ended: dict[int, int] = {}
        deadline = _Deadline()
        while step.poll() is None:
            _read_codes(codes, ranks, ended)
            if deadline.passed(ended.values()) and len(ended) < ranks:
                step.kill()  # with its srun, Slurm ends the step on all nodes
                step.wait()
            time.sleep(0.2)
        _read_codes(codes, ranks, ended)
    code = overall_exit_code(ended.values())
    is_known = len(ended) == ranks or HUNG in ended.values() or code not in (0, CONTINUE)
    return code if is_known else _positive(step.returncode) or 1


class _Deadline:
    """Ranks left behind by others get a limited time."""

    def __init__(self) -> None:
        self._since: dict[float, float] = {}

    def passed(self, codes: Iterable[int]) -> bool:
        for code in codes:
            if code:
                limits = {CONTINUE: SECONDS_AFTER_SAVE, HUNG: SECONDS_AFTER_HANG}
                self._since.setdefault(limits.get(code, SECONDS_AFTER_FAILURE), time.monotonic())
        return any(time.monotonic() - since > limit for limit, since in self._since.items())


def _read_codes(folder: Path, ranks: int, ended: dict[int, int]) -> None:
    for rank in range(ranks):
        if rank not in ended and (folder / str(rank)).exists():
            ended[rank] = int((folder / str(rank)).read_text())
            _report(rank, ended[rank])


def _report(rank: int, code: int) -> None:
    if code:
        meaning = {CONTINUE: "saved, to be continued", HUNG: "no step, to be continued"}.get(code, "failed")
        print(f"launch: rank={rank} exit_code={code} ({meaning})", file=sys.stderr, flush=True)


def _positive(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


def _forward_signals(children: list[subprocess.Popen[bytes]]) -> None:
    def forward(number: int, frame: FrameType | None) -> None:
        for child in children:
            if number == signal.SIGTERM or catches(child.pid, number):
                child.send_signal(number)

    for number in FORWARDED:
        signal.signal(number, forward)


def _ignore_until_handled() -> None:
    # A rank that still imports its libraries has no handler yet, and the default action would end it.
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


def _default_signals() -> None:
    for number in FORWARDED:
        signal.signal(number, signal.SIG_DFL)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("", 0))
        return int(listener.getsockname()[1])


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except socket.gaierror:
        return False
    return True


def main(arguments: list[str] | None = None) -> int:
    """Parse `--nodes N --tasks-per-node T -- COMMAND`, run it, return its exit code."""
    parser = argparse.ArgumentParser(description="Start the ranks of a command, by srun inside a Slurm job.")
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--tasks-per-node", type=int, required=True, help="ranks a node: one a GPU")
    parser.add_argument("command", nargs="+", help="after --: what each rank runs")
    args = parser.parse_args(arguments)
    if "SLURM_JOB_ID" in os.environ and shutil.which("srun"):
        return run_on_slurm(args.command, args.nodes, args.tasks_per_node)
    return run_here(args.command, args.nodes * args.tasks_per_node)


if __name__ == "__main__":
    sys.exit(main())
