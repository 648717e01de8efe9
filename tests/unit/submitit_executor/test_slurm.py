"""What Slurm's commands print, as recorded from Slurm 22.05."""

from __future__ import annotations

from pathlib import Path

import pytest

from snakemake_executor_plugin_submitit.errors import BackendError
from snakemake_executor_plugin_submitit.slurm import (
    BUSY,
    Cluster,
    JobState,
    expand_ids,
    parse_job_times,
    parse_sacct,
    parse_squeue,
    parse_submit_limit,
    read_cluster,
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


CONFIG = "printf 'AccountingStorageType = accounting_storage/slurmdbd\\nMaxArraySize = 500\\n'"
DENIED = "echo 'sacctmgr: error: Access/permission denied' >&2; exit 1"
DOWN = "echo 'slurm_load_ctl_conf error: Unable to contact slurm controller' >&2; exit 1"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole PATH: a cluster of the commands that a test writes there."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def commands(site: Path, **scripts: str) -> None:
    for name, script in scripts.items():
        (site / name).write_text(f"#!/bin/sh\n{script}\n")
        (site / name).chmod(0o755)


def test_limits_are_read_where_the_cluster_tells_them(site: Path) -> None:
    commands(site, sbatch="", srun="", sacct="", scontrol=CONFIG, sacctmgr="echo '200|'")
    assert read_cluster("me") == Cluster(True, 500, 200)


@pytest.mark.parametrize(
    ("scripts", "size", "words"),
    [
        ({"scontrol": CONFIG}, 500, "sacctmgr: no such command"),
        ({"scontrol": CONFIG, "sacctmgr": DENIED}, 500, "Access/permission denied"),
        ({"scontrol": DOWN, "sacctmgr": "exit 0"}, 1001, "Unable to contact slurm controller"),
    ],
)
def test_a_limit_that_cannot_be_read_is_none_and_slurm_says_why(
    site: Path, scripts: dict[str, str], size: int, words: str
) -> None:
    commands(site, sbatch="", srun="", sacct="", **scripts)
    cluster = read_cluster("me")
    assert (cluster.has_accounting, cluster.max_array_size, cluster.max_submit) == (True, size, None)
    assert len(cluster.unread) == 1 and words in cluster.unread[0]


def test_without_sbatch_this_is_no_login_node(site: Path) -> None:
    with pytest.raises(BackendError, match="Is this a login node of a Slurm cluster"):
        read_cluster("me")
