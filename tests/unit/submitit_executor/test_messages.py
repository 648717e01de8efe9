"""What a person reads when a job fails."""

from __future__ import annotations

from pathlib import Path

from snakemake_executor_plugin_submitit.messages import failure, lacked_memory, last_lines
from snakemake_executor_plugin_submitit.runner import Outcome
from snakemake_executor_plugin_submitit.slurm import JobState


def test_a_failure_names_job_end_reason_log_and_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "7_0_log.out"
    log.write_text("loading\nValueError: no images\n")
    text = failure("train: a.pt", "7", Outcome(1, 0, 12.3, "n1"), "an error in the code comes again", log)
    assert text == (
        "train: a.pt: job 7 ended: exit code 1 after 12 s on n1.\n"
        "An error in the code comes again.\n"
        f"Log: {log}\n"
        "Its last lines:\n"
        "    loading\n"
        "    ValueError: no images\n"
    )


def test_slurms_reason_and_the_signals_name_are_in_words(tmp_path: Path) -> None:
    text = failure("train", "8", JobState("FAILED", 9, 0, "n3", "NonZeroExitCode"), "why", tmp_path / "none")
    assert "Slurm state FAILED, killed by SIGKILL, reason NonZeroExitCode, on n3." in text
    assert "last lines" not in text


def test_a_long_log_is_shown_from_its_end(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(f"line {number}" for number in range(10_000)))
    assert last_lines(log)[-1] == "line 9999" and len(last_lines(log)) == 20


def test_slurms_remark_on_memory_is_found_and_the_programs_own_words_are_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("slurmstepd-n1: error: StepId=1.0 exceeded memory limit (628854784 > 419430400), being killed\n")
    assert lacked_memory(log)
    log.write_text("slurmstepd: error: Detected 1 oom-kill event(s) in StepId=7.0\n")
    assert lacked_memory(log)
    log.write_text("MemoryError: exceeded memory limit of the buffer\n")
    assert not lacked_memory(log)
