"""What follows from the way a job ended: one pure function and the table it reads.

docs/cluster.md shows the same table, made by `markdown_table`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What the driver does with a job that has ended or seems to have."""

    FINISH = "finish"
    STOP = "stop"
    WAIT = "wait"
    CONTINUE = "continue"
    MORE_MEMORY = "more memory"
    ELSEWHERE = "elsewhere"


@dataclass(frozen=True)
class Rule:
    """One line of the table. limit names the setting that bounds the action."""

    end: str
    action: Action
    limit: str
    why: str


# `result: ...` is what the job itself reported; the rest are Slurm's states of a job that could not report.
RULES = (
    Rule("result: exit code 0", Action.FINISH, "", "done"),
    Rule("result: saved", Action.CONTINUE, "max_continuations", "exit code 75: the same command goes on from there"),
    Rule("result: failed", Action.STOP, "", "an error in the code comes again"),
    Rule("PREEMPTED", Action.CONTINUE, "max_continuations", "Slurm took the node back and did not requeue the job"),
    Rule("TIMEOUT, had saved", Action.CONTINUE, "max_continuations", "it goes on from what it saved before"),
    Rule("TIMEOUT", Action.STOP, "", "it never saved, so it would meet the same limit: raise `runtime`"),
    Rule("NODE_FAIL", Action.ELSEWHERE, "max_resubmissions", "the node is excluded from the new submission"),
    Rule("BOOT_FAIL", Action.ELSEWHERE, "max_resubmissions", "the node is excluded from the new submission"),
    Rule(
        "FAILED, killed",
        Action.ELSEWHERE,
        "max_resubmissions",
        "a signal ended the job and its report: the node's doing",
    ),
    Rule(
        "OUT_OF_MEMORY, or killed for its memory",
        Action.MORE_MEMORY,
        "max_memory_retries",
        "it ran out of memory: it gets `memory_factor` times what it had",
    ),
    Rule("CANCELLED", Action.STOP, "", "a person did it"),
    Rule("DEADLINE", Action.STOP, "", "the deadline given to sbatch has passed"),
    Rule("REVOKED", Action.STOP, "", "another cluster of the federation has taken the job"),
    Rule("FAILED", Action.STOP, "", "the job ended before it could report: see its log"),
    Rule(
        "COMPLETED", Action.STOP, "", "it ended without a report: the folder is not shared by all nodes, or was cleaned"
    ),
    Rule(
        "unknown", Action.STOP, "", "Slurm does not know the job for 10 minutes: submitting it again could run it twice"
    ),
)
_BY_END = {rule.end.split(", or ")[0]: rule for rule in RULES}
_OUT_OF_MEMORY = _BY_END["OUT_OF_MEMORY"]

ALIVE = frozenset(
    "PENDING RUNNING SUSPENDED COMPLETING CONFIGURING REQUEUED REQUEUE_FED REQUEUE_HOLD RESIZING RESV_DEL_HOLD "
    "SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED".split()
)


@dataclass(frozen=True)
class End:
    """How a job ended. state: Slurm's word, or one of `result: ...`; killed_by: signal number, where one did.

    lacked_memory: Slurm's remark on it is in the log; under OverMemoryKill the state does not say it.
    """

    state: str
    killed_by: int = 0
    lacked_memory: bool = False


@dataclass(frozen=True)
class History:
    """What has already been done for the job, in all its submissions."""

    continuations: int = 0
    resubmissions: int = 0
    memory_retries: int = 0
    has_saved: bool = False


@dataclass(frozen=True)
class Limits:
    """The settings that bound what is done."""

    max_continuations: int
    max_resubmissions: int
    max_memory_retries: int


@dataclass(frozen=True)
class Decision:
    """What to do, and the reason in words."""

    action: Action
    why: str


def find_rule(end: End, has_saved: bool) -> Rule | None:
    """The line of the table for this end; None while Slurm still has the job."""
    if end.state in ALIVE:
        return None
    if end.lacked_memory:
        return _OUT_OF_MEMORY
    if end.state == "TIMEOUT" and has_saved:
        return _BY_END["TIMEOUT, had saved"]
    if end.state == "FAILED" and end.killed_by:
        return _BY_END["FAILED, killed"]
    return _BY_END.get(end.state, _BY_END["unknown"])


def decide(end: End, history: History, limits: Limits) -> Decision:
    """The action for a job that ended this way, within the limits."""
    rule = find_rule(end, history.has_saved)
    if rule is None:
        return Decision(Action.WAIT, f"Slurm state {end.state}")
    used = {
        "": -1,
        "max_continuations": history.continuations,
        "max_resubmissions": history.resubmissions,
        "max_memory_retries": history.memory_retries,
    }[rule.limit]
    if rule.limit and used >= getattr(limits, rule.limit):
        flag = rule.limit.replace("_", "-")
        return Decision(Action.STOP, f"{rule.why}; but that was done {used} times (--submitit-{flag})")
    return Decision(rule.action, rule.why)


def markdown_table() -> str:
    """The table for the documentation."""
    lines = ["| the job ended with | action | bounded by | because |", "|---|---|---|---|"]
    lines += [
        f"| {rule.end} | {rule.action} | {f'`{rule.limit}`' if rule.limit else ''} | {rule.why} |" for rule in RULES
    ]
    return "\n".join(lines)
