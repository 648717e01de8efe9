"""The plan of a study: a row a cell, with its state, its reason and its cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..cost.after_training import AfterTraining
from ..cost.needs import cells_per_gpu
from ..cost.results import Results, last_plan, measured_speed, read_pilots, read_record, saved_step, used_seconds
from ..cost.speeds import Speed, SpeedModel, demand, read_speed_table
from ..cost.storage import cell_storage_gb, storage
from ..models.compute import gmacs_per_sample
from ..records.plan import PlannedCell, Stage, State
from ..records.training import TrainRecord
from ..study.config.devices import CPU, figures_of
from ..study.grid import Cell
from ..study.resolved import ResolvedStudy, samples_trained
from .state import Blocks, cell_state


@dataclass
class Plan:
    """All that a plan says, as its record holds it."""

    study: str
    rows: list[PlannedCell]
    stages: list[Stage]
    difference: str = ""
    notes: list[str] = field(default_factory=list)
    schedule: dict[str, Any] | None = None
    knowledge: dict[str, Any] | None = None

    def of(self, *states: State) -> list[PlannedCell]:
        """Rows in these states."""
        return [row for row in self.rows if row.state in states]

    @property
    def to_do(self) -> list[PlannedCell]:
        """Rows whose cost is still to be spent."""
        return self.of("run", "resume", "blocked")

    @property
    def peak_storage_gb(self) -> float:
        """At the fullest."""
        return sum(stage.peak_gb for stage in self.stages)


def speed_model(study: ResolvedStudy, results: Results, records: dict[str, TrainRecord]) -> SpeedModel:
    """All speeds that are known for a study: of its finished cells, its pilots, and the table in its file."""
    speeds: list[Speed] = []
    for name, record in records.items():
        cell = study.cells[name]
        speed = measured_speed(cell, record, results.job_seconds(f"train/{name}"))
        speeds += [speed] if speed else []
    precisions = {cell.model: study.recipe(cell).precision for cell in study.cells.values()}
    speeds += [replace(pilot, precision=precisions.get(pilot.model)) for pilot in read_pilots(results)]
    if study.config.costs.throughput:
        speeds += read_speed_table(results.root / study.config.costs.throughput)
    return SpeedModel([speed for speed in speeds if speed.model in study.models], study.models)


def make_plan(study: ResolvedStudy, root: Path) -> Plan:
    """The plan of a study whose results lie under root/results. Nothing is written."""
    results = Results(root, study.config.study)
    records = {name: record for name, cell in study.cells.items() if (record := read_record(results, cell))}
    rows = _Rows(study, results, records)
    cluster = study.config.resources.cluster
    plan = Plan(study.config.study, [rows.of(cell) for cell in study.cells.values()], [])
    plan.stages = storage(study, rows.speeds.sizes, cluster.concurrent_jobs or len(plan.rows))
    plan.notes = rows.blocks.notes
    return plan


class _Rows:
    """Makes the row of a cell from all that is known of the study."""

    def __init__(self, study: ResolvedStudy, results: Results, records: dict[str, TrainRecord]) -> None:
        self.study, self.results, self.records = study, results, records
        self.speeds = speed_model(study, results, records)
        self.blocks = Blocks(study, results)
        before = last_plan(results)
        self._planned = {row.cell: row for row in before.rows} if before else {}
        self._after = AfterTraining(study, results, records)
        self._gmacs = {name: gmacs_per_sample(config)["total"] for name, config in study.models.items()}

    def of(self, cell: Cell) -> PlannedCell:
        """The whole row."""
        study, recipe = self.study, self.study.recipe(cell)
        state, reason = cell_state(study, self.results, cell, self.records.get(cell.name), self.blocks)
        seen, pairs = study.steps(cell) * recipe.global_batch_size, study.config.data[cell.data].pairs
        return PlannedCell(
            cell=cell.name,
            model=cell.model,
            data=cell.data,
            unique_pairs=pairs,
            samples_seen=seen,
            seed=cell.seed,
            state=state,
            reason=reason,
            steps=study.steps(cell),
            epochs=round(seen / pairs, 4),
            learning_rate=recipe.learning_rate,
            global_batch_size=recipe.global_batch_size,
            gmacs_per_sample=self._gmacs[cell.model],
            compute_gmacs=self._gmacs[cell.model] * seen,
            storage_gb=cell_storage_gb(study, self.speeds.sizes, cell.name),
            **self._cost(cell, state),
        )

    def _cost(self, cell: Cell, state: State) -> dict[str, Any]:
        """The fields of a row that say what the cell costs, or has cost."""
        study = self.study
        recipe, resources = study.recipe(cell), study.config.resources.train_of(cell)
        asked, sharing = demand(cell, recipe, resources), cells_per_gpu(study.models[cell.model], recipe, resources)
        estimate = self.speeds.estimate(asked)
        own = self._samples_left(cell, state)
        used = self._used_hours(cell, asked.devices) if state == "skip" else None
        hours = estimate.hours(own) if used is None else (used / asked.devices,) * 3
        device_hours, low, high = (asked.devices / sharing * value for value in hours)
        is_cpu = asked.kind == CPU
        kind, other = ("cpu", "gpu") if is_cpu else ("gpu", "cpu")
        watts = study.config.costs.watts_per_core if is_cpu else _watts(study, asked.kind)
        evaluation_hours, evaluation_basis = self._after.hours(cell, estimate, asked.devices)
        return {
            "samples_trained": own,
            "gpus": 0 if is_cpu else asked.devices,
            "cells_per_gpu": sharing,
            "cores": asked.devices if is_cpu else 0,
            **{f"{kind}_hours": device_hours, f"{kind}_hours_low": low, f"{kind}_hours_high": high},
            **{f"{other}_hours": 0.0, f"{other}_hours_low": 0.0, f"{other}_hours_high": 0.0},
            "wall_hours": hours[0],
            "energy_mwh": watts * device_hours / 1e6,
            "origin": estimate.origin,
            "basis": estimate.basis,
            "sd": estimate.sd if used is None else 0.0,
            "planned_hours": _planned(self._planned.get(cell.name), state, device_hours),
            "used_hours": None if used is None else used / sharing,
            "evaluation_hours": evaluation_hours,
            "evaluation_basis": evaluation_basis,
            "evaluation_jobs": study.config.evaluation.jobs,
        }

    def _samples_left(self, cell: Cell, state: State) -> int:
        """Samples that the cell still adds: what is saved costs nothing more."""
        own = samples_trained(self.study, cell)
        if state != "resume":
            return own
        saved = saved_step(self.results.paths.resume(cell.name)) or 0
        return round(own * (1 - saved / self.study.steps(cell)))

    def _used_hours(self, cell: Cell, devices: int) -> float | None:
        """Device hours that a finished cell took; None where no file has them."""
        seconds = used_seconds(self.results, cell.name, self.records[cell.name].seconds)
        return seconds / 3600 * devices if seconds else None


def _planned(before: PlannedCell | None, state: State, now: float) -> float | None:
    """Device hours that were planned before the cell ran: a finished cell keeps the last estimate made before it."""
    if state != "skip":
        return now
    return before.planned_hours if before else None


def _watts(study: ResolvedStudy, kind: str) -> float:
    return study.config.costs.watts_per_gpu or figures_of(kind).watts
