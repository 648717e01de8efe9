"""Slurm's commands and what they print. One call for all jobs, never one a job."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from .errors import BackendError

CALL_SECONDS = 120
DEFAULT_ARRAY_SIZE = 1001  # Slurm's own default of MaxArraySize
SUBMIT_LIMITS = ("sacctmgr", "-nP", "show", "assoc", "where")
# What sbatch says when the same submission may pass later.
BUSY = re.compile(
    r"MaxSubmit|GrpSubmit|MaxJobCount|temporarily unable|temporarily unavailable|timed out|try again|"
    r"Unable to contact slurm controller|Connection refused|Zero Bytes",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class JobState:
    """What Slurm says of one job. killed_by: signal number, 0 if none."""

    state: str
    killed_by: int = 0
    exit_code: int = 0
    nodes: str = ""
    reason: str = ""


@dataclass(frozen=True)
class JobTimes:
    """A running job's state, when it will be ended and when it was chosen for preemption; seconds since 1970."""

    state: str
    end: float | None
    preempted: float | None


@dataclass(frozen=True)
class Cluster:
    """What the cluster has and allows.

    max_submit: None where it sets no limit or does not say. unread: what could not be asked, in Slurm's words.
    """

    has_accounting: bool
    max_array_size: int = DEFAULT_ARRAY_SIZE
    max_submit: int | None = None
    unread: tuple[str, ...] = ()


def call(command: Sequence[str]) -> str:
    """A Slurm command's stdout; BackendError with its own words where it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=CALL_SECONDS, env=_environment())
    except FileNotFoundError:
        raise BackendError(f"{command[0]}: no such command.") from None
    except subprocess.TimeoutExpired:
        raise BackendError(f"{command[0]} gave no answer in {CALL_SECONDS} s.") from None
    if done.returncode:
        raise BackendError(f"{' '.join(command[:6])}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def read_config() -> dict[str, str]:
    """Slurm's configuration, name -> value, of `scontrol show config`."""
    pairs = (line.partition("=") for line in call(["scontrol", "show", "config"]).splitlines() if "=" in line)
    return {name.strip(): value.strip() for name, _, value in pairs}


def read_cluster(user: str) -> Cluster:
    """Accounting, MaxArraySize and the smallest submit limit of the user's associations.

    Sites keep sacctmgr to their admins, and a controller may not answer for a while: a limit that cannot be read is
    taken for none, since sbatch refuses what is too much and says so.
    """
    for command in ("sbatch", "srun"):
        if not shutil.which(command):
            raise BackendError(
                f"{command}: no such command. Is this a login node of a Slurm cluster? Without Slurm, use "
                "--submitit-cluster local."
            )
    unread = []
    try:
        config = read_config()
        storage = config.get("AccountingStorageType", "")
    except BackendError as error:
        config, storage = {}, "slurmdbd"  # most clusters have it; sacct will say
        unread.append(error.message)
    submit = None
    if "slurmdbd" in storage:
        try:
            submit = parse_submit_limit(call([*SUBMIT_LIMITS, f"user={user}", "format=MaxSubmitJobs,GrpSubmitJobs"]))
        except BackendError as error:
            unread.append(error.message)
    return Cluster(
        has_accounting="slurmdbd" in storage and shutil.which("sacct") is not None,
        max_array_size=int(config.get("MaxArraySize", DEFAULT_ARRAY_SIZE)),
        max_submit=submit,
        unread=tuple(unread),
    )


def parse_submit_limit(text: str) -> int | None:
    """The smallest number in sacctmgr's MaxSubmitJobs|GrpSubmitJobs lines."""
    numbers = [int(field) for line in text.splitlines() for field in line.split("|") if field.isdigit()]
    return min(numbers, default=None)


def sacct_states(ids: Iterable[str]) -> dict[str, JobState]:
    """States of these jobs by one call of sacct."""
    bases = sorted({job_id.partition("_")[0] for job_id in ids})
    # -X: the jobs, not their steps.
    fields = "--format=JobID,State,ExitCode,NodeList,Reason"
    return parse_sacct(call(["sacct", "-X", "-n", "-P", fields, "-j", ",".join(bases)]))


def parse_sacct(text: str) -> dict[str, JobState]:
    """`JobID|State|ExitCode|NodeList|Reason` lines; pending array tasks come as one line `7_[2-5,8%4]`."""
    states: dict[str, JobState] = {}
    for line in text.splitlines():
        job_id, state, exit_code, nodes, reason = line.split("|", 4)
        code, _, killed_by = exit_code.partition(":")
        parsed = JobState(
            state=state.split()[0] if state else "",  # "CANCELLED by 1000"
            killed_by=int(killed_by or 0),
            exit_code=int(code or 0),
            nodes="" if nodes == "None assigned" else nodes,
            reason="" if reason == "None" else reason,
        )
        for each in expand_ids(job_id):
            states[each] = parsed
    return states


def squeue_states() -> dict[str, JobState]:
    """States of all jobs of this user that the controller still remembers (MinJobAge), by one call of squeue."""
    return parse_squeue(call(["squeue", "--me", "-h", "-r", "-t", "all", "-o", "%i|%T|%N|%r"]))


def parse_squeue(text: str) -> dict[str, JobState]:
    """`id|state|nodes|reason` lines, one a task."""
    states = {}
    for line in text.splitlines():
        job_id, state, nodes, reason = line.split("|", 3)
        killed_by = 9 if reason == "RaisedSignal:9(Killed)" else 0
        states[job_id] = JobState(state, killed_by, 0, nodes, "" if reason == "None" else reason)
    return states


def find_by_comment(comment: str) -> dict[int, str]:
    """Jobs in the queue whose comment this is: index in the array (0 for a single job) -> id."""
    found = {}
    for line in call(["squeue", "--me", "-h", "-r", "-t", "all", "-o", "%i|%k"]).splitlines():
        job_id, _, text = line.partition("|")
        if text == comment:
            found[int(job_id.partition("_")[2] or 0)] = job_id
    return found


def expand_ids(job_id: str) -> list[str]:
    """`7` -> 7; `7_3` -> 7_3; `7_[2-4,8%4]` -> 7_2 7_3 7_4 7_8."""
    base, bracket, inside = job_id.partition("_[")
    if not bracket:
        return [job_id]
    ids = []
    for part in inside.rstrip("]").split("%")[0].split(","):
        first, dash, last = part.partition("-")
        if first.isdigit():
            ids += [f"{base}_{index}" for index in range(int(first), int(last if dash else first) + 1)]
    return ids


def cancel(ids: Sequence[str]) -> None:
    """One scancel for all."""
    if ids:
        call(["scancel", *ids])


def release(job_id: str) -> bool:
    """Lift the two minutes that Slurm holds a requeued job; False where it is too early or has started."""
    done = subprocess.run(
        ["scontrol", "update", f"JobId={job_id}", "StartTime=now"], capture_output=True, timeout=CALL_SECONDS
    )
    return done.returncode == 0


def job_times(job_id: str) -> JobTimes | None:
    """What the controller says of a running job; None where it does not answer."""
    try:
        return parse_job_times(call(["scontrol", "show", "job", "-o", job_id]))
    except BackendError as error:
        print(f"submitit: {error.message}", flush=True)
        return None


def parse_job_times(text: str) -> JobTimes:
    """JobState, EndTime and PreemptTime of `scontrol show job -o`."""
    fields = dict(part.split("=", 1) for part in text.split() if "=" in part)
    return JobTimes(fields.get("JobState", ""), _seconds(fields.get("EndTime")), _seconds(fields.get("PreemptTime")))


def _environment() -> dict[str, str]:
    # Without it, long lists of array tasks are cut off with "...".
    return os.environ | {"SLURM_BITSTR_LEN": "0"}


def _seconds(text: str | None) -> float | None:
    if text in (None, "None", "Unknown", "N/A"):
        return None
    return datetime.datetime.fromisoformat(str(text)).timestamp()
