"""The plan of a study: a row a cell, with its state, its reason and its cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..cost.after_training import AfterTraining
from ..cost.speeds import Speed, SpeedModel, demand, read_speed_table
from ..cost.storage import Stage, cell_storage_gb, storage
from ..data.sources.tars.lists import missing_tars
from ..models.compute import gmacs_per_sample
from ..records.runs import (
    Folders,
    changes,
    last_plan,
    measured_speed,
    read_pilots,
    read_progress,
    read_record,
    saved_step,
    used_seconds,
)
from ..study.config.devices import CPU, DEVICES
from ..study.config.existing import FolderSource, TableSource, WebdatasetSource
from ..study.config.sources import IconifySource, UrlListSource
from ..study.grid import Cell
from ..study.resolve import ResolvedStudy, samples_trained

State = Literal["run", "resume", "skip", "blocked"]


@dataclass
class Row:
    """One cell. Times are of its training job; gpu_hours and cpu_hours carry the 90 % interval's ends beside them.

    samples_seen: of the whole run, steps x batch; samples_trained: what it still adds, under schedule wsd beside its
    trunk's other budgets, and beyond what is saved.
    planned_hours, used_hours: device hours, the estimate before it ran, and what it took.
    evaluation_hours: of what follows training, evaluation and fine-tuning, on one device.
    """

    cell: str
    model: str
    data: str
    unique_pairs: int
    samples_seen: int
    samples_trained: int
    seed: int
    state: State
    reason: str
    steps: int
    epochs: float
    learning_rate: float
    global_batch_size: int
    gmacs_per_sample: float
    compute_gmacs: float
    gpus: int
    gpu_hours: float
    gpu_hours_low: float
    gpu_hours_high: float
    cores: int
    cpu_hours: float
    cpu_hours_low: float
    cpu_hours_high: float
    wall_hours: float
    energy_mwh: float
    storage_gb: float
    origin: str
    basis: str
    sd: float
    planned_hours: float | None = None
    used_hours: float | None = None
    evaluation_hours: float = 0.0
    evaluation_basis: str = ""


@dataclass
class Plan:
    """All that a plan says, as plan.json holds it."""

    study: str
    rows: list[Row]
    stages: list[Stage]
    difference: str = ""
    notes: list[str] = field(default_factory=list)
    schedule: dict[str, Any] | None = None
    knowledge: dict[str, Any] | None = None

    def of(self, *states: State) -> list[Row]:
        """Rows in these states."""
        return [row for row in self.rows if row.state in states]

    @property
    def to_do(self) -> list[Row]:
        """Rows whose cost is still to be spent."""
        return self.of("run", "resume", "blocked")

    @property
    def peak_storage_gb(self) -> float:
        """At the fullest."""
        return sum(stage.peak_gb for stage in self.stages)


def speed_model(study: ResolvedStudy, folders: Folders, records: dict[str, dict[str, Any]]) -> SpeedModel:
    """All speeds that are known for a study: of its finished cells, its pilots, and the table in its file."""
    speeds: list[Speed] = []
    for name, record in records.items():
        cell = study.cells[name]
        speed = measured_speed(cell, record, folders.job_seconds(f"train/{name}"))
        speeds += [speed] if speed else []
    speeds += read_pilots(folders)
    if study.config.costs.throughput:
        speeds += read_speed_table(folders.root / study.config.costs.throughput)
    return SpeedModel([speed for speed in speeds if speed.model in study.models], study.models)


def make_plan(study: ResolvedStudy, root: Path) -> Plan:
    """The plan of a study whose results lie under root/results. Nothing is written."""
    folders = Folders(root, study.config.study)
    records = {name: record for name, cell in study.cells.items() if (record := read_record(folders, cell))}
    speeds = speed_model(study, folders, records)
    before = last_plan(folders)
    planned = {row["cell"]: row for row in before["rows"]} if before else {}
    blocks = _Blocks(study, folders)
    after = AfterTraining(study, folders, records)
    gmacs = {name: gmacs_per_sample(config)["total"] for name, config in study.models.items()}
    rows = []
    for name, cell in study.cells.items():
        recipe, resources = study.recipe(cell), study.config.resources.train_of(cell)
        state, reason = _state(study, folders, cell, records.get(name), blocks)
        asked = demand(cell, recipe, resources)
        estimate = speeds.estimate(asked)
        own = samples_trained(study, cell)
        if state == "resume":  # what is saved costs nothing more
            own = round(own * (1 - (saved_step(folders.train(cell) / "resume") or 0) / study.steps(cell)))
        hours = estimate.hours(own)
        record, used = records.get(name), None
        if record and state == "skip":
            seconds = used_seconds(folders, name, record)
            used = seconds / 3600 * asked.devices if seconds else None
            if used is not None:
                hours = (used / asked.devices,) * 3
        is_cpu = asked.kind == CPU
        evaluation_hours, evaluation_basis = after.hours(cell, estimate, asked.devices)
        watts = study.config.costs.watts_per_core if is_cpu else _watts(study, asked.kind)
        device_hours, low, high = (asked.devices * value for value in hours)
        seen, pairs = study.steps(cell) * recipe.global_batch_size, study.config.data[cell.data].pairs
        rows.append(
            Row(
                cell=name,
                model=cell.model,
                data=cell.data,
                unique_pairs=pairs,
                samples_seen=seen,
                samples_trained=own,
                seed=cell.seed,
                state=state,
                reason=reason,
                steps=study.steps(cell),
                epochs=round(seen / pairs, 4),
                learning_rate=recipe.learning_rate,
                global_batch_size=recipe.global_batch_size,
                gmacs_per_sample=gmacs[cell.model],
                compute_gmacs=gmacs[cell.model] * seen,
                gpus=0 if is_cpu else asked.devices,
                gpu_hours=0.0 if is_cpu else device_hours,
                gpu_hours_low=0.0 if is_cpu else low,
                gpu_hours_high=0.0 if is_cpu else high,
                cores=asked.devices if is_cpu else 0,
                cpu_hours=device_hours if is_cpu else 0.0,
                cpu_hours_low=low if is_cpu else 0.0,
                cpu_hours_high=high if is_cpu else 0.0,
                wall_hours=hours[0],
                energy_mwh=watts * device_hours / 1e6,
                storage_gb=cell_storage_gb(study, speeds.sizes, name),
                origin=estimate.origin,
                basis=estimate.basis,
                sd=estimate.sd if used is None else 0.0,
                planned_hours=_planned(planned.get(name), state, device_hours),
                used_hours=used,
                evaluation_hours=evaluation_hours,
                evaluation_basis=evaluation_basis,
            )
        )
    cluster = study.config.resources.cluster
    plan = Plan(study.config.study, rows, storage(study, speeds.sizes, cluster.concurrent_jobs or len(rows)))
    plan.notes = blocks.notes
    return plan


class _Blocks:
    """Why cells cannot run on this machine: asked once a data set, not once a cell."""

    def __init__(self, study: ResolvedStudy, folders: Folders) -> None:
        self.study, self.folders = study, folders
        self.notes: list[str] = []
        self._known: dict[str, str] = {}
        missing = [
            entry.dataset
            for entry in study.suite.datasets
            if entry.origin == "webdataset" and not (study.suite.folder_of(entry) / "test" / "nshards.txt").is_file()
        ]
        if missing:
            self.notes.append(
                f"{len(missing)} evaluation sets are not on this machine ({', '.join(missing[:3])}, ...): "
                f"config/evaluation/{study.config.evaluation.suite}.yaml says where they must lie"
            )

    def reason(self, data: str) -> str:
        """Empty where the data is there or can be made."""
        if data not in self._known:
            self._known[data] = self._find(data)
        return self._known[data]

    def _find(self, data: str) -> str:
        if self.folders.manifest(data).is_file():
            return ""
        name = self.study.source_of(data)
        source = self.study.config.sources[name]
        if isinstance(source, UrlListSource):
            return f"{data} is not prepared: sources of kind url_list can be planned only"
        if isinstance(source, WebdatasetSource) and (missing := missing_tars(source.tars)):
            return f"sources.{name}.tars: {missing[0]} is not there"
        if isinstance(source, FolderSource | TableSource) and not Path(source.path).expanduser().exists():
            return f"sources.{name}.path: {source.path} is not there"
        if isinstance(source, IconifySource) and source.path and not Path(source.path).is_file():
            return f"sources.{name}.path: {source.path} is not there"
        return ""


def _state(
    study: ResolvedStudy, folders: Folders, cell: Cell, record: dict[str, Any] | None, blocks: _Blocks
) -> tuple[State, str]:
    """Where a cell stands, and why."""
    if record is not None:
        changed = changes(study, cell, record, folders)
        if not changed and (folders.train(cell) / "checkpoint.pt").is_file():
            return "skip", "trained" if record["state"] == "trained" else record["state"]
        reason = "; ".join(changed) or "its checkpoint is missing"
    else:
        resume = folders.train(cell) / "resume"
        step, beat = saved_step(resume), read_progress(resume)
        if step is not None:
            return "resume", f"saved at step {step} of {study.steps(cell)}"
        is_again = (folders.train(cell) / "previous").is_dir()
        reason = "rerun asked for" if is_again else "no result yet"
        if beat is not None:
            reason = f"{reason}; a run that stopped at step {beat['step']} saved nothing"
    blocked = blocks.reason(cell.data)
    return ("blocked", blocked) if blocked else ("run", reason)


def _planned(before: dict[str, Any] | None, state: State, now: float) -> float | None:
    """Device hours that were planned before the cell ran: a finished cell keeps the last estimate made before it."""
    if state != "skip":
        return now
    return before.get("planned_hours") if before else None


def _watts(study: ResolvedStudy, kind: str) -> float:
    return study.config.costs.watts_per_gpu or DEVICES[kind].watts
