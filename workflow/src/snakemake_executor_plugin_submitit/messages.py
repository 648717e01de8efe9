"""What a person reads when a job fails: which one, why, where its log is and what it said last."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from .runner import Outcome
from .slurm import JobState

TAIL_LINES = 20
_TAIL_BYTES = 16_384
_MEMORY = re.compile(r"slurmstepd.*(exceeded memory limit|Exceeded job memory limit|oom.kill)", re.IGNORECASE)


def describe_end(end: Outcome | JobState | str) -> str:
    """The exit code or signal, and Slurm's reason."""
    if isinstance(end, str):
        return end.strip().splitlines()[-1] if end.strip() else "no report"
    if isinstance(end, Outcome):
        ended = f"exit code {end.exit_code}" + (f" ({_signal_name(end.signal)})" if end.signal else "")
        return f"{ended} after {end.seconds:.0f} s on {end.host}"
    parts = [f"Slurm state {end.state}"]
    if end.killed_by:
        parts.append(f"killed by {_signal_name(end.killed_by)}")
    elif end.exit_code:
        parts.append(f"exit code {end.exit_code}")
    if end.reason:
        parts.append(f"reason {end.reason}")
    if end.nodes:
        parts.append(f"on {end.nodes}")
    return ", ".join(parts)


def failure(name: str, job_id: str, end: Outcome | JobState | str, why: str, log: Path) -> str:
    """The whole message."""
    lines = [f"{name}: job {job_id} ended: {describe_end(end)}.", f"{why[:1].upper()}{why[1:]}.", f"Log: {log}"]
    tail = last_lines(log)
    if tail:
        lines += ["Its last lines:", *(f"    {line}" for line in tail)]
    return "\n".join(lines) + "\n"


def last_lines(path: Path) -> list[str]:
    """The last lines of a log; none where it does not exist."""
    if not path.is_file():
        return []
    with open(path, "rb") as file:
        file.seek(0, 2)
        file.seek(max(0, file.tell() - _TAIL_BYTES))
        return file.read().decode(errors="replace").splitlines()[-TAIL_LINES:]


def lacked_memory(log: Path) -> bool:
    """Whether Slurm says at the log's end that it killed the job for its memory."""
    return any(_MEMORY.search(line) for line in last_lines(log))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
