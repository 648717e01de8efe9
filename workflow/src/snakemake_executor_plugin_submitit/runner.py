"""What runs inside a submitted job: the command of one Snakemake job, its signals, its requeue.

The command is a shell line that starts another Snakemake, which starts the rule's shell, which starts the program.
Slurm's request to save (USR2, before the time limit or a preemption) has to reach the program and nothing else may
die of it: so all of them start with the signal ignored, and a program that can save sets its own handler. That program
ends with exit code 75 (EX_TEMPFAIL: saved, run the same command to continue), and the job is requeued.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

import psutil

from .exits import CONTINUE, catches, overall_exit_code
from .slurm import JobTimes, job_times

SAVE = signal.SIGUSR2
STOPPING = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM)
POLL_SECONDS = 0.1
# The inner Snakemake ends with 1 whatever its rule's shell ended with; this file, which bash reads at its start,
# leaves the shell's own exit code. Only the rule's shell does so, not the scripts that it starts.
# The inner Snakemake handles TERM itself, so what it starts would die of it before the program has saved.
BASH_STARTUP = """unset BASH_ENV
trap '' TERM
[ -n "${SUBMITIT_USER_BASH_ENV:-}" ] && . "$SUBMITIT_USER_BASH_ENV"
trap 'echo $? >> "$SUBMITIT_EXIT_CODES"' EXIT
"""


@dataclass(frozen=True)
class Outcome:
    """What a job reports at its end, unless Slurm ended it first.

    exit_code: of the rule's shell, where it is known, else of the whole command; signal: number, 0 if none.
    """

    exit_code: int
    signal: int = 0
    seconds: float = 0.0
    host: str = ""

    @property
    def saved(self) -> bool:
        """The program has saved and asks to be continued."""
        return self.exit_code == CONTINUE


@dataclass(frozen=True)
class Event:
    """One line of a job's events file: that it saved, and what for."""

    what: str
    reason: str
    time: float


@dataclass
class Runner:
    """The callable that submitit pickles. continuations: already used by earlier submissions of this job."""

    command: str
    workdir: str
    folder: str
    token: str
    index: int
    signal_delay_seconds: int
    continuations: int
    max_continuations: int
    _received: int = field(default=0, init=False)

    def __call__(self) -> Outcome | None:
        """Run the command; None on the tasks of other nodes, which only hold their node for the launcher's srun."""
        if int(os.environ.get("SLURM_PROCID", "0")):
            return None
        on_slurm = os.environ.get("SUBMITIT_EXECUTOR") == "slurm"
        self._write_id()
        is_own_process = "SUBMITIT_EXECUTOR" in os.environ  # not so in the debug backend, which runs in the driver
        if is_own_process:
            for number in STOPPING:
                signal.signal(number, self._receive)
        start = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="submitit-") as folder:
            child = self._start(Path(folder))
            reason = self._wait(child, on_slurm)
            outcome = self._outcome(child.returncode, Path(folder), time.monotonic() - start)
        if not outcome.saved:
            return outcome
        self._log_event("saved", reason)
        if reason == "cancelled":
            sys.exit(128 + signal.SIGTERM)  # no result, and no requeue, which would undo the cancellation
        if on_slurm and self._may_continue() and self._requeue():
            self._log_event("requeued", reason)
            sys.exit(0)  # no result: the job is not over
        return outcome

    def _start(self, folder: Path) -> subprocess.Popen[bytes]:
        (folder / "bash_env").write_text(BASH_STARTUP)
        env = os.environ | {"BASH_ENV": str(folder / "bash_env"), "SUBMITIT_EXIT_CODES": str(folder / "exit_codes")}
        if "BASH_ENV" in os.environ:
            env["SUBMITIT_USER_BASH_ENV"] = os.environ["BASH_ENV"]
        print(f"submitit: host={os.uname().nodename} command: {self.command}", flush=True)
        return subprocess.Popen(self.command, shell=True, cwd=self.workdir, env=env, preexec_fn=_ignore_stopping)

    def _wait(self, child: subprocess.Popen[bytes], on_slurm: bool) -> str:
        """Wait for the command; return why it was asked to save, or "" where it was not.

        Polls, because a second wait() from a signal handler would block for ever on the first.
        """
        reason = ""
        asked: set[int] = set()
        while child.poll() is None:
            if self._received:
                if not reason:
                    reason = self._reason(on_slurm)
                    print(f"submitit: signal={signal.Signals(self._received).name} reason={reason}", flush=True)
                # Again and again, for a program that was still importing its libraries.
                _ask_to_save(child.pid, asked)
            time.sleep(POLL_SECONDS)
        return reason

    def _reason(self, on_slurm: bool) -> str:
        if on_slurm:
            return stop_reason(job_times(_submitit_id()), time.time(), self.signal_delay_seconds, self._received)
        return "cancelled" if self._received == signal.SIGTERM else "time limit"

    def _outcome(self, returncode: int, folder: Path, seconds: float) -> Outcome:
        codes_file = folder / "exit_codes"
        codes = [int(line) for line in codes_file.read_text().split()] if codes_file.exists() else []
        by_signal = max(0, -returncode)
        code = (overall_exit_code(codes) or returncode) if returncode > 0 else returncode and 128 + by_signal
        return Outcome(code, by_signal, round(seconds, 3), os.uname().nodename)

    def _may_continue(self) -> bool:
        restarts = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        return self.continuations + restarts < self.max_continuations

    def _requeue(self) -> bool:
        done = subprocess.run(["scontrol", "requeue", _submitit_id()], capture_output=True, text=True)
        if done.returncode:
            print(f"submitit: scontrol requeue: {done.stderr.strip()}; the driver submits the job again", flush=True)
        return done.returncode == 0

    def _receive(self, number: int, frame: FrameType | None) -> None:
        # A request to save goes before the SIGTERM that Slurm may add to it.
        if self._received in (0, signal.SIGTERM):
            self._received = number

    def _write_id(self) -> None:
        """Tell a later driver which id this submission got, should the present one die before it wrote it down."""
        path = started_path(Path(self.folder), self.token, self.index)
        path.parent.mkdir(exist_ok=True)
        path.write_text(_submitit_id())

    def _log_event(self, what: str, reason: str) -> None:
        with open(events_path(Path(self.folder), _submitit_id()), "a", encoding="utf-8") as file:
            # The line break before: a full disk may have left half a line.
            file.write("\n" + json.dumps(asdict(Event(what, reason or "of its own accord", time.time()))) + "\n")


def stop_reason(times: JobTimes | None, now: float, delay_seconds: float, number: int) -> str:
    """Why Slurm asked for a save, by its own record of the job. Times in seconds since 1970.

    submitit takes every signal under a limit of 10 minutes for the time limit; Slurm says it exactly.
    """
    if times is None:
        return "signal"
    if times.state == "CANCELLED" or (times.state == "COMPLETING" and number == signal.SIGTERM):
        return "cancelled"  # a cancelled job is COMPLETING while it ends; so is one that Slurm requeues by itself
    if times.preempted is not None:
        return "preemption"
    # Slurm sends the signal up to 60 s early.
    if times.end is not None and times.end - now <= delay_seconds + 60:
        return "time limit"
    # Slurm 22.05 does not set PreemptTime before the grace time is over; TERM comes of nothing else then.
    return "preemption" if number == signal.SIGTERM else "signal"


def started_path(folder: Path, token: str, index: int) -> Path:
    """Where a job leaves its id under its submission's token."""
    return folder / "started" / f"{token}.{index}"


def events_path(folder: Path, cluster_id: str) -> Path:
    """Where a job logs that it saved or was requeued."""
    return folder / f"{cluster_id}_events.jsonl"


def read_events(folder: Path, cluster_id: str) -> list[Event]:
    """What the job has logged so far; half lines are passed over."""
    path, found = events_path(folder, cluster_id), []
    for line in path.read_text(errors="replace").splitlines() if path.exists() else []:
        try:
            found.append(Event(**json.loads(line)))
        except (ValueError, TypeError, RecursionError):
            continue
    return found


def _ignore_stopping() -> None:
    for number in STOPPING:
        signal.signal(number, signal.SIG_IGN)


def _ask_to_save(pid: int, asked: set[int]) -> None:
    """Signal the programs below a process that have a handler and were not asked yet."""
    try:
        processes = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return
    for process in processes:
        if process.pid not in asked and catches(process.pid, SAVE):
            asked.add(process.pid)
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(SAVE)


def _submitit_id() -> str:
    # 7_3 of an array: SLURM_JOB_ID may be 7 there, which scontrol takes for the whole array.
    import submitit

    return str(submitit.JobEnvironment().job_id)
