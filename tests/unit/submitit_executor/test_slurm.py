"""What Slurm's commands print, as recorded from Slurm 22.05."""

from __future__ import annotations

import pytest

from snakemake_executor_plugin_submitit.slurm import (
    BUSY,
    JobState,
    expand_ids,
    parse_job_times,
    parse_sacct,
    parse_squeue,
    parse_submit_limit,
)


def test_sacct_gives_the_state_of_every_job_and_array_task() -> None:
    text = (
        "12|RUNNING|0:0|n1|None\n"
        "13|CANCELLED by 1000|0:15|n2|None\n"
        "14_0|COMPLETED|0:0|n1|None\n"
        "14_1|FAILED|0:9|n3|RaisedSignal:9(Killed)\n"
        "14_[2-3,5%2]|PENDING|0:0|None assigned|JobArrayTaskLimit\n"
    )
    states = parse_sacct(text)
    assert states["12"] == JobState("RUNNING", nodes="n1")
    assert states["13"] == JobState("CANCELLED", killed_by=15, nodes="n2")
    assert states["14_1"] == JobState("FAILED", killed_by=9, nodes="n3", reason="RaisedSignal:9(Killed)")
    assert [states[f"14_{index}"].state for index in (2, 3, 5)] == ["PENDING"] * 3
    assert "14_4" not in states


def test_squeue_stands_in_for_sacct() -> None:
    text = "12|RUNNING|n1|None\n13_1|FAILED|n2|RaisedSignal:9(Killed)\n14|PENDING||BeginTime\n"
    assert parse_squeue(text) == {
        "12": JobState("RUNNING", nodes="n1"),
        "13_1": JobState("FAILED", killed_by=9, nodes="n2", reason="RaisedSignal:9(Killed)"),
        "14": JobState("PENDING", reason="BeginTime"),
    }


@pytest.mark.parametrize(
    ("text", "ids"),
    [("7", ["7"]), ("7_3", ["7_3"]), ("7_[2-4,8%4]", ["7_2", "7_3", "7_4", "7_8"]), ("7_[5]", ["7_5"])],
)
def test_pending_array_tasks_are_written_out(text: str, ids: list[str]) -> None:
    assert expand_ids(text) == ids


def test_a_running_jobs_end_and_preemption() -> None:
    line = "JobId=5 JobName=x JobState=RUNNING EndTime=2026-11-24T04:00:00 PreemptTime=None Comment=a=b"
    times = parse_job_times(line)
    assert (times.state, times.preempted) == ("RUNNING", None)
    later = parse_job_times(line.replace("PreemptTime=None", "PreemptTime=2026-11-24T03:59:00"))
    assert times.end is not None and later.preempted is not None
    assert times.end - later.preempted == 60
    assert parse_job_times("JobId=5 JobState=PENDING EndTime=Unknown").end is None


def test_the_smallest_submit_limit_counts_and_none_is_none() -> None:
    assert parse_submit_limit("|\n200|1000\n|500\n") == 200
    assert parse_submit_limit("|\n") is None


@pytest.mark.parametrize(
    ("text", "is_busy"),
    [
        ("sbatch: error: AssocMaxSubmitJobLimit", True),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit", True),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", True),
        ("sbatch: error: invalid partition specified: gpuu", False),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available", False),
    ],
)
def test_a_full_queue_is_told_from_a_wrong_request(text: str, is_busy: bool) -> None:
    assert bool(BUSY.search(text)) is is_busy
