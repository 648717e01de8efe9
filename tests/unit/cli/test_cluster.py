"""`clip-scaling doctor`: what it reads from a cluster's answers."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_scaling.cli.cluster import (
    BAD,
    OK,
    SET,
    Finding,
    ask_slurm,
    check_file_system,
    check_room,
    read_limits,
    read_partitions,
    read_preemption,
    report,
)

SINFO = "gpu*|up|1-00:00:00|4|48|512000|gpu:a100:4\nold|down|4:00:00|2|16|64000|(null)\n"


def test_each_partition_is_shown_with_its_gpus_and_limit() -> None:
    up, down = read_partitions(SINFO, None)
    assert up == Finding(OK, "partition", "gpu: 4 nodes with 48 CPUs, 512000 MB, gpu:a100:4; time limit 1-00:00:00, up")
    assert (down.level, "no GPUs" in down.text) == (BAD, True)


def test_a_partition_that_does_not_exist_is_named_with_the_valid_ones() -> None:
    last = list(read_partitions(SINFO, "booster"))[-1]
    assert (last.level, last.text, last.advice) == (BAD, "booster does not exist", "--submitit-partition: gpu, old")


def test_without_a_default_partition_one_must_be_set() -> None:
    assert list(read_partitions(SINFO.replace("*", ""), None))[-1].advice == "--submitit-partition NAME"


def test_the_smallest_submit_limit_becomes_the_number_of_jobs() -> None:
    config = {"MaxArraySize": "1001", "AccountingStorageType": "accounting_storage/slurmdbd"}
    assert [finding.advice for finding in read_limits(config, "500|\n200|1000\n")] == ["", "--jobs 200 or less", ""]


def test_without_accounting_squeue_has_to_do() -> None:
    findings = list(read_limits({"MinJobAge": "300 sec", "JobRequeue": "0"}, ""))
    assert [finding.level for finding in findings] == [OK, OK, SET, SET]
    assert "squeue is asked, which forgets jobs after 300 sec" in findings[2].text


@pytest.mark.parametrize(
    ("sacctmgr", "words"),
    [(None, "sacctmgr"), ("echo 'sacctmgr: error: Access/permission denied' >&2; exit 1", "Access/permission denied")],
)
def test_a_command_that_fails_is_one_finding_in_slurms_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sacctmgr: str | None, words: str
) -> None:
    scripts = {"scontrol": "echo 'AccountingStorageType = accounting_storage/slurmdbd'", "sinfo": "echo up"}
    for name, script in (scripts | ({"sacctmgr": sacctmgr} if sacctmgr else {})).items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    answers, failed = ask_slurm()
    assert set(answers) == {"configuration", "partitions", "preemption"}
    assert [(finding.level, finding.topic) for finding in failed] == [(SET, "submit limit")]
    assert words in failed[0].text and "the executor goes on without" in failed[0].advice
    config = {"AccountingStorageType": "accounting_storage/slurmdbd"}
    assert "submit limit" not in [finding.topic for finding in read_limits(config, answers.get("submit limit"))]


def test_a_preemption_without_grace_calls_for_frequent_saves() -> None:
    config = {"PreemptType": "preempt/partition_prio", "PreemptMode": "REQUEUE"}
    partitions = (
        "PartitionName=gpu GraceTime=10 PreemptMode=REQUEUE\nPartitionName=urgent GraceTime=0 PreemptMode=OFF\n"
    )
    mode, grace = read_preemption(config, partitions, None)
    assert mode.level == SET and "SIGTERM" in mode.text
    assert grace.text == "gpu: 10 s to save before a preemption" and "checkpoint_minutes" in grace.advice
    asked = config | {"SchedulerParameters": "bf_interval=1,preempt_send_user_signal"}
    assert next(iter(read_preemption(asked, partitions, None))).level == OK


def test_no_preemption_is_said_in_one_line() -> None:
    assert [finding.text for finding in read_preemption({"PreemptType": "preempt/none"}, "", None)] == ["off"]


def test_a_folder_of_this_machine_renames_and_locks(tmp_path: Path) -> None:
    levels = {finding.topic: finding.level for finding in check_file_system(tmp_path / "results")}
    assert (levels["rename"], levels["locks"]) == (OK, OK)
    assert not list((tmp_path / "results").iterdir())


def test_the_report_ends_with_what_to_set() -> None:
    text = report([Finding(OK, "arrays", "fine"), Finding(SET, "partition", "no default", "--submitit-partition NAME")])
    assert text.splitlines() == [
        "  ok  arrays: fine",
        " set  partition: no default",
        "",
        "What to set or do:",
        "  partition: --submitit-partition NAME",
    ]


def test_room_is_held_against_the_plan_of_a_study(repository: Path, tmp_path: Path, small_disk: Path) -> None:
    for root in (tmp_path, small_disk):
        (root / "config").symlink_to(repository / "config")
    (fits,) = check_room(repository / "config" / "offline.yaml", tmp_path / "results")
    assert fits.level == OK and "GB and" in fits.text
    (lacking,) = check_room(repository / "config" / "offline.yaml", small_disk / "results")
    assert lacking.level == BAD and "the plan needs up to" in lacking.text and "larger file system" in lacking.advice
