"""Where each cell stands while a study runs, from its files alone: over ssh, on a shared disk, with no server."""

from __future__ import annotations

import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..cost.needs import cells_per_gpu
from ..cost.results import Results, last_plan, read_record, saved_step, used_seconds
from ..machine.processes import is_alive
from ..records.curve import TrainingPoint, curve_so_far
from ..records.filenames import ATTEMPTS, CHECKPOINT, CURVE, STATE
from ..records.lines import lines_so_far
from ..records.made import Attempt
from ..records.training import Heartbeat
from ..study.grid import Cell
from ..study.resolved import ResolvedStudy

STALE_SECONDS = 120.0
"""A heartbeat older than this is stale: a running loop writes one every five seconds, or every step."""


@dataclass
class Standing:
    """One cell. share: of its samples; hours: of all its devices, used by its job, and lost."""

    cell: str
    state: str
    share: float
    loss: float | None
    pairs_per_second: float | None
    eta_seconds: float | None
    attempts: int
    used_hours: float
    lost_hours: float
    error: str
    job: str
    heartbeat_seconds: float | None


def standings(study: ResolvedStudy, root: Path, stale_seconds: float = STALE_SECONDS) -> list[Standing]:
    """Every cell of the study, in the grid's order.

    States: done, diverged, evaluated, running, interrupted (its process is gone, or its heartbeat is stale), saved (it
    ended on a signal and continues), failed (its log ends in an error), waiting.
    """
    results = Results(root, study.config.study)
    jobs = _job_ids(root / "results" / "submitit" / "ledger.jsonl")
    return [_standing(study, results, cell, jobs, stale_seconds) for cell in study.cells.values()]


def _standing(
    study: ResolvedStudy, results: Results, cell: Cell, jobs: dict[str, str], stale_seconds: float
) -> Standing:
    resources = study.config.resources.train_of(cell)
    sharing = cells_per_gpu(study.models[cell.model], study.recipe(cell), resources)
    devices = resources.ranks / sharing if resources.gpus_per_node else resources.ranks * resources.threads
    home = results.paths.train(cell.name)
    record = read_record(results, cell)
    job = jobs.get(cell.name, "")
    if record is not None and (home / CHECKPOINT).is_file():
        attempts = record.attempts
        state = "diverged" if record.state == "diverged" else "done"
        if state == "done" and results.paths.metrics(cell.name).is_file():
            state = "evaluated"
        share = record.steps / max(1, study.steps(cell))
        seconds = used_seconds(results, cell.name, record.seconds)
        return Standing(
            cell.name, state, min(1.0, share), record.final_loss, record.samples_per_second, 0.0,
            max(1, len(attempts)), seconds / 3600 * devices, _lost_hours(attempts, devices),
            "", job or _slurm_id(attempts), None,
        )  # fmt: skip
    resume = home / "resume"
    attempts = [Attempt.model_validate(line) for line in lines_so_far(resume / ATTEMPTS)]
    beat = Heartbeat.last(resume)
    error = _last_error(results.paths.log(f"train/{cell.name}"))
    job = job or _slurm_id(attempts)
    if beat is None:
        part = _trunk_beat(results, cell, study)
        state = "trunk" if part else "failed" if error else "waiting"
        return Standing(cell.name, state, part, None, None, None, len(attempts), 0.0, 0.0, error, job, None)
    age = max(0.0, time.time() - beat.time)
    state = _state_of(beat, age, stale_seconds)
    seconds, share = _seconds(resume / CURVE), beat.samples / max(1, beat.total_samples)
    speed = beat.pairs_per_second or None
    left = beat.total_samples - beat.samples
    lost = _lost_hours(attempts, devices)
    if state in ("interrupted", "failed") and speed:
        behind = beat.step - (saved_step(resume) or 0)
        lost += max(0, behind) * study.recipe(cell).global_batch_size / speed / 3600 * devices
    return Standing(
        cell.name, state, share, beat.loss, speed, left / speed if speed and state == "running" else None,
        len(attempts), seconds / 3600 * devices, lost, error if state != "running" else "", job, age,
    )  # fmt: skip


def is_running(beat: Heartbeat | None, stale_seconds: float = STALE_SECONDS) -> bool:
    """Whether a heartbeat is of a run that goes on."""
    return beat is not None and _state_of(beat, time.time() - beat.time, stale_seconds) == "running"


def _state_of(beat: Heartbeat, age: float, stale_seconds: float) -> str:
    if beat.state == "saved":
        return "saved"
    if beat.state != "running":
        return "finishing" if age < stale_seconds else "interrupted"
    if beat.host == socket.gethostname() and not is_alive(beat.pid):
        return "interrupted"
    return "running" if age < stale_seconds else "interrupted"


def _trunk_beat(results: Results, cell: Cell, study: ResolvedStudy) -> float:
    """Under schedule wsd, how far the trunk has come towards this cell's end; 0 without any sign of it."""
    if not study.branch_step(cell):
        return 0.0
    beat = Heartbeat.last(results.trunk(cell) / "resume")
    if beat is None and not (results.trunk(cell) / STATE).is_file():
        return 0.0
    return (beat.step if beat else study.branch_step(cell)) / study.steps(cell)


def _lost_hours(attempts: list[Attempt], devices: float) -> float:
    """Device-hours of steps that were made again, by the attempts."""
    return sum(attempt.lost_seconds for attempt in attempts) / 3600 * devices


def _seconds(curve: Path) -> float:
    """Training seconds at the last point of a curve, all attempts together."""
    points = [point for point in curve_so_far(curve) if isinstance(point, TrainingPoint)]
    return points[-1].seconds if points else 0.0


def _last_error(log: Path) -> str:
    """The last line of a job's log with an error; empty without one."""
    try:
        with open(log, "rb") as file:
            file.seek(max(0, log.stat().st_size - 4096))
            tail = file.read().decode("utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    wrong = [line for line in tail if "Error" in line.split(":", 1)[0] and ":" in line]
    return wrong[-1][:200] if wrong else ""


def _slurm_id(attempts: list[Attempt]) -> str:
    return next((attempt.slurm_job_id for attempt in reversed(attempts) if attempt.slurm_job_id), "")


def _job_ids(ledger: Path) -> dict[str, str]:
    """Cluster id of the last job that was submitted for each cell, from the executor's ledger."""
    found = {}
    for line in lines_so_far(ledger):
        name = line.get("name", "")
        if line.get("cluster_id") and "Model-" in name:
            found[name[name.index("Model-") :]] = str(line["cluster_id"])
    return found


def summary(study: ResolvedStudy, root: Path, rows: list[Standing]) -> dict[str, Any]:
    """Counts by state, used and lost device-hours, and the plan's for the same cells."""
    counts: dict[str, int] = {}
    for row in rows:
        counts[row.state] = counts.get(row.state, 0) + 1
    before = last_plan(Results(root, study.config.study))
    planned = sum(row.planned_hours or 0.0 for row in before.rows) if before else None
    return {
        "cells": len(rows),
        "states": counts,
        "used_hours": sum(row.used_hours for row in rows),
        "lost_hours": sum(row.lost_hours for row in rows),
        "planned_hours": planned,
        "avoided_nodes": avoided(root),
    }


def avoided(root: Path) -> dict[str, str]:
    """The nodes that submissions keep away from since they failed: Slurm's state, and until when (UTC)."""
    folder = root / "results" / "submitit"
    if not (folder / "nodes.jsonl").is_file():
        return {}
    from snakemake_executor_plugin_submitit.nodes import avoided_nodes  # a tenth of a second: only where there are some

    return {
        name: f"{node.state}, until {time.strftime('%Y-%m-%d %H:%M', time.gmtime(node.until))} UTC"
        for name, node in avoided_nodes(folder).items()
    }


def as_json(study: ResolvedStudy, root: Path, rows: list[Standing]) -> dict[str, Any]:
    """Everything that the live table shows, as JSON values."""
    return {
        "study": study.config.study,
        "time": time.time(),
        "totals": summary(study, root, rows),
        "cells": [asdict(row) for row in rows],
    }
