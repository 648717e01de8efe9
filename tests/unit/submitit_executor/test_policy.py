"""What follows from the way a job ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.policy import Action, End, History, Limits, decide, markdown_table

LIMITS = Limits(max_continuations=2, max_resubmissions=1, max_memory_retries=1)


@pytest.mark.parametrize(
    ("end", "history", "action"),
    [
        (End("result: exit code 0"), History(), Action.FINISH),
        (End("result: saved"), History(), Action.CONTINUE),
        (End("result: failed"), History(has_saved=True), Action.STOP),
        (End("PREEMPTED"), History(), Action.CONTINUE),
        (End("TIMEOUT"), History(has_saved=True), Action.CONTINUE),
        (End("TIMEOUT"), History(), Action.STOP),
        (End("NODE_FAIL"), History(), Action.ELSEWHERE),
        (End("BOOT_FAIL"), History(), Action.ELSEWHERE),
        (End("OUT_OF_MEMORY"), History(), Action.MORE_MEMORY),
        (End("CANCELLED"), History(), Action.STOP),
        (End("FAILED", lacked_memory=True), History(), Action.MORE_MEMORY),
        (End("FAILED"), History(), Action.STOP),
        (End("FAILED", killed_by=9), History(), Action.ELSEWHERE),
        (End("DEADLINE"), History(), Action.STOP),
        (End("COMPLETED"), History(), Action.STOP),
        (End("unknown"), History(), Action.STOP),
        (End("A_NEW_STATE"), History(), Action.STOP),
        (End("PENDING"), History(), Action.WAIT),
        (End("REQUEUED"), History(), Action.WAIT),
        (End("COMPLETING"), History(), Action.WAIT),
    ],
)
def test_each_end_has_its_action(end: End, history: History, action: Action) -> None:
    assert decide(end, history, LIMITS).action is action


@pytest.mark.parametrize(
    ("end", "history", "flag"),
    [
        (End("result: saved"), History(continuations=2), "--submitit-max-continuations"),
        (End("NODE_FAIL"), History(resubmissions=1), "--submitit-max-resubmissions"),
        (End("OUT_OF_MEMORY"), History(memory_retries=1), "--submitit-max-memory-retries"),
    ],
)
def test_nothing_is_repeated_for_ever_and_the_message_names_the_setting(end: End, history: History, flag: str) -> None:
    decision = decide(end, history, LIMITS)
    assert decision.action is Action.STOP and flag in decision.why


def test_one_bound_does_not_use_up_another() -> None:
    assert decide(End("NODE_FAIL"), History(continuations=9, memory_retries=9), LIMITS).action is Action.ELSEWHERE


def test_the_documentation_shows_this_very_table(repository: Path) -> None:
    assert markdown_table() in (repository / "docs/cluster.md").read_text()
