"""Where cells stand, from files alone: running, interrupted, stale, saved, done."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from clip_scaling.cli.study import _status_text
from clip_scaling.plan.files import full_plan, write_plan
from clip_scaling.plan.live import Standing, as_json, standings, summary
from clip_scaling.records.curve import write_curve
from clip_scaling.study.resolved import ResolvedStudy
from snakemake_executor_plugin_submitit.nodes import FailedNode, report_nodes

from ..curve_points import training_point
from .finished import finish


def resume_of(root: Path, study: ResolvedStudy, cell: str) -> Path:
    folder = root / "results" / study.config.study / "train" / cell / "resume"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def beat(folder: Path, **changes: Any) -> None:
    """A heartbeat as the training loop writes it."""
    now = {
        "state": "running", "step": 20, "samples": 20 * 128, "total_samples": 63 * 128, "loss": 3.2,
        "pairs_per_second": 640.0, "time": time.time(), "host": socket.gethostname(), "pid": os.getpid(),
    }  # fmt: skip
    (folder / "progress.json").write_text(json.dumps(now | changes))


def first(study: ResolvedStudy, root: Path, **options: Any) -> Standing:
    return standings(study, root, **options)[0]


def test_a_cell_without_files_is_waiting(study: ResolvedStudy, tmp_path: Path) -> None:
    assert {row.state for row in standings(study, tmp_path)} == {"waiting"}


def test_a_running_cell_shows_its_share_and_the_time_left(study: ResolvedStudy, tmp_path: Path) -> None:
    folder = resume_of(tmp_path, study, next(iter(study.cells)))
    beat(folder)
    write_curve(folder / "curve.jsonl", [training_point(step=20, samples=2_560, seconds=36.0)])
    with open(folder / "curve.jsonl", "a") as file:
        file.write('{"step": 21, "sec')
    (folder / "attempts.jsonl").write_text('{"from_step": 0}\n{"from_step": 10, "lost_seconds": 7.2}\n')
    row = first(study, tmp_path)
    assert (row.state, row.attempts, row.loss) == ("running", 2, 3.2)
    assert row.share == pytest.approx(20 / 63)
    assert row.eta_seconds == pytest.approx(43 * 128 / 640)
    assert (row.used_hours, row.lost_hours) == (pytest.approx(0.01), pytest.approx(0.002))


def test_a_killed_process_is_seen_at_once_on_its_own_machine(study: ResolvedStudy, tmp_path: Path) -> None:
    folder = resume_of(tmp_path, study, next(iter(study.cells)))
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    beat(folder, pid=process.pid)
    (folder / f"step-{10:010d}-{'0' * 64}.pt").touch()
    assert first(study, tmp_path).state == "running"
    process.send_signal(signal.SIGKILL)
    process.wait()
    row = first(study, tmp_path)
    assert (row.state, row.eta_seconds) == ("interrupted", None)
    assert row.lost_hours == pytest.approx(10 * 128 / 640 / 3600)  # ten steps since the saved state


def test_a_stale_heartbeat_of_another_machine_is_shown_as_such(study: ResolvedStudy, tmp_path: Path) -> None:
    folder = resume_of(tmp_path, study, next(iter(study.cells)))
    beat(folder, host="elsewhere", time=time.time() - 100)
    assert first(study, tmp_path).state == "running"
    row = first(study, tmp_path, stale_seconds=90)
    assert row.state == "interrupted" and row.heartbeat_seconds == pytest.approx(100, abs=5)


def test_a_run_that_saved_itself_and_one_that_failed_say_so(study: ResolvedStudy, tmp_path: Path) -> None:
    one, other = list(study.cells)[:2]
    beat(resume_of(tmp_path, study, one), state="saved")
    log = tmp_path / "results" / "logs" / "offline" / "train" / f"{other}.log"
    log.parent.mkdir(parents=True)
    log.write_text("step=1 loss=3.0\nDataError: shard 3 is gone. Prepare it again.\n")
    rows = standings(study, tmp_path)
    assert rows[0].state == "saved"
    assert (rows[1].state, rows[1].error) == ("failed", "DataError: shard 3 is gone. Prepare it again.")


def test_finished_cells_and_the_ledgers_job_ids_are_counted(study: ResolvedStudy, tmp_path: Path) -> None:
    write_plan(full_plan(study, tmp_path), study, tmp_path)
    cells = list(study.cells.values())
    for cell in cells[:3]:
        finish(tmp_path, study, cell, seconds=36.0)
    metrics = tmp_path / "results" / "offline" / "evaluate" / cells[0].name / "metrics.json"
    metrics.parent.mkdir(parents=True)
    metrics.write_text("{}")
    ledger = tmp_path / "results" / "submitit" / "ledger.jsonl"
    ledger.parent.mkdir(parents=True)
    ledger.write_text(json.dumps({"name": f"train {cells[1].name}", "cluster_id": "4711"}) + "\n")
    rows = standings(study, tmp_path)
    assert [row.state for row in rows[:4]] == ["evaluated", "done", "done", "waiting"]
    assert rows[1].job == "4711"
    sums = summary(study, tmp_path, rows)
    assert sums["used_hours"] == pytest.approx(0.03) and sums["planned_hours"] > 0
    assert json.loads(json.dumps(as_json(study, tmp_path, rows)))["cells"][0]["cell"] == cells[0].name
    text = _status_text(study, tmp_path, rows, is_all=False)
    assert "2 done, 1 evaluated, 5 waiting" in text and "4711" in text


def test_the_training_loop_records_what_its_attempt_before_lost(tmp_path: Path) -> None:
    from clip_scaling.train.monitor import Monitor

    beat(tmp_path, step=20, samples=2560, pairs_per_second=640.0)
    Monitor(tmp_path, "cell", 8064, step=15).close()
    attempt = json.loads((tmp_path / "attempts.jsonl").read_text())
    assert (attempt["lost_samples"], attempt["lost_seconds"]) == (640, 1.0)
    Monitor(tmp_path, "cell", 8064, step=20).close()
    assert "lost_seconds" not in json.loads((tmp_path / "attempts.jsonl").read_text().splitlines()[1])


def test_nodes_that_submissions_keep_away_from_are_shown_for_their_time(study: ResolvedStudy, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "submitit"
    assert summary(study, tmp_path, [])["avoided_nodes"] == {}
    folder.mkdir(parents=True)
    report_nodes(folder, [FailedNode("n3", "NODE_FAIL", "train", 120), FailedNode("n4", "BOOT_FAIL", "x", 1, time=0.0)])
    (shown,) = summary(study, tmp_path, [])["avoided_nodes"].items()
    assert shown[0] == "n3" and shown[1].startswith("NODE_FAIL, until 20") and shown[1].endswith(" UTC")
