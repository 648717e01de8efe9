"""What the files of a study say: finished cells, saved runs, heartbeats, pilots. Read only, and from files alone."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from ..cost.speeds import Speed
from ..errors import ManifestError
from ..study.config.devices import CPU, DEVICES, UNKNOWN_GPU
from ..study.config.training import RECIPE_VERSION
from ..study.counts import format_count
from ..study.grid import Cell, trunk_name
from ..study.resolve import ResolvedStudy
from .files import read_json


@dataclass
class Folders:
    """Where a study's files lie, below the project folder."""

    root: Path
    study: str
    _digests: dict[str, str | None] = field(default_factory=dict)

    @cached_property
    def home(self) -> Path:
        """results/{study}"""
        return self.root / "results" / self.study

    def train(self, cell: Cell) -> Path:
        """Folder of a cell's training outputs."""
        return self.home / f"train/{cell.name}"

    def trunk(self, cell: Cell) -> Path:
        """Folder of the part of a trunk that ends at a cell's branch point."""
        return self.home / "trunk" / trunk_name(cell) / format_count(cell.samples_seen)

    def metrics(self, cell: Cell) -> Path:
        """A cell's evaluation."""
        return self.home / "evaluate" / cell.name / "metrics.json"

    def manifest(self, name: str) -> Path:
        """Manifest of a source, a subset or an evaluation set (`eval-...`)."""
        return self.root / "results" / "data" / name / "manifest.json"

    def order_digest(self, data: str) -> str | None:
        """Digest of a prepared subset's order; None where it is not prepared."""
        if data not in self._digests:
            path = self.manifest(data)
            self._digests[data] = read_json(path).get("order_digest") if path.is_file() else None
        return self._digests[data]

    def job_seconds(self, job: str) -> float | None:
        """Wall seconds of a job, `evaluate/{cell}`, by Snakemake's benchmark file; None without one."""
        path = self.root / "results" / "benchmarks" / self.study / f"{job}.tsv"
        try:
            return float(path.read_text(encoding="utf-8").splitlines()[1].split("\t")[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None  # a job that was killed leaves none, or half of one


def used_seconds(folders: Folders, cell: str, record: dict[str, Any]) -> float:
    """Wall seconds that a finished cell took, from its record and its job's benchmark file.

    The whole last job, start-up included; or its steps, where attempts before that job made most of them.
    """
    return max(folders.job_seconds(f"train/{cell}") or 0.0, float(record.get("seconds", 0.0)))


def read_record(folders: Folders, cell: Cell) -> dict[str, Any] | None:
    """A finished cell's train.json; None where it has not finished."""
    try:
        return json.loads((folders.train(cell) / "train.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except json.JSONDecodeError as error:
        path = folders.train(cell) / "train.json"
        raise ManifestError(
            f"{path}: not JSON ({error}). Delete it; `snakemake --cores all` then trains the cell again."
        ) from None


def last_plan(folders: Folders) -> dict[str, Any] | None:
    """plan.json of the last plan; None before the first."""
    path = folders.home / "plan" / "plan.json"
    return read_json(path) if path.is_file() else None


def read_progress(resume: Path) -> dict[str, Any] | None:
    """The last heartbeat of a run that has not finished."""
    try:
        return json.loads((resume / "progress.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def saved_step(resume: Path) -> int | None:
    """The step of the newest saved state; None without one. The name is `step-{step}-{sha256}.pt`."""
    steps = [int(path.name.split("-")[1]) for path in resume.glob("step-*-*.pt")] if resume.is_dir() else []
    return max(steps, default=None)


def changes(study: ResolvedStudy, cell: Cell, record: dict[str, Any], folders: Folders) -> list[str]:
    """In words, all that a finished cell was trained with and the study now asks otherwise."""
    found = _differences(record["recipe"], json.loads(study.recipe(cell).model_dump_json()))
    found += [f"model {text}" for text in _differences(record["model_config"], study.models[cell.model])]
    if record.get("recipe_version") != RECIPE_VERSION:
        found.append(f"recipe version changed {record.get('recipe_version')} -> {RECIPE_VERSION}")
    digest = folders.order_digest(cell.data)
    if digest is not None and record.get("order_digest") != digest:
        found.append(f"pairs of {cell.data} changed")
    elif record.get("unique_pairs") not in (None, study.config.data[cell.data].pairs):
        found.append(f"pairs of {cell.data} changed {record['unique_pairs']} -> {study.config.data[cell.data].pairs}")
    return found


def _differences(old: dict[str, Any], new: dict[str, Any], place: str = "") -> list[str]:
    """`key changed old -> new` for every leaf that differs."""
    found = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{place}{key}.")
        elif before != after:
            found.append(f"{place}{key} changed {_text(before)} -> {_text(after)}")
    return found


def _text(value: Any) -> str:
    """A number as a person writes it: 5e-4, not 0.0005."""
    if isinstance(value, float) and value and (abs(value) < 0.01 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}" if isinstance(value, float) else str(value)


def measured_speed(cell: Cell, record: dict[str, Any], job_seconds: float | None) -> Speed | None:
    """What a finished cell says of its model's speed; None where its record is without seconds or devices."""
    speed, ranks = record.get("samples_per_second"), record.get("ranks")
    if not speed or not ranks:
        return None
    resources = record.get("resources", {})
    is_gpu = "cuda" in str(record.get("device", ""))
    kind = (resources.get("gpu_kind") or UNKNOWN_GPU) if is_gpu else CPU
    if kind not in DEVICES:
        return None
    devices = ranks if is_gpu else ranks * record.get("threads", 1)
    return Speed(
        cell.model,
        kind,
        devices,
        speed / devices,
        "measured",
        data=cell.data,
        samples_seen=cell.samples_seen,
        local_batch=record["recipe"]["global_batch_size"] / devices,
        overhead_seconds=max(0.0, job_seconds - record.get("seconds", 0.0)) if job_seconds else 0.0,
    )


def read_pilots(folders: Folders) -> list[Speed]:
    """The speeds that `snakemake pilot` measured."""
    speeds = []
    for path in sorted((folders.home / "plan" / "pilot").glob("*.json")):
        pilot = read_json(path)
        speeds.append(Speed(**{key: pilot[key] for key in Speed.__dataclass_fields__ if key in pilot}))
    return speeds
