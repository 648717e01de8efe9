"""The plan of a study, as `clip-scaling plan` writes it; the next plan, `status` and the page read it."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from .base import Record

State = Literal["run", "resume", "skip", "blocked"]
"""What a cell will do: train, go on from a saved state, nothing since it is finished, or wait for what is missing."""


class PlannedCell(BaseModel):
    """One cell. Hours are of its training job; the ends of their 90 % intervals stand beside them."""

    model_config = ConfigDict(frozen=True)

    cell: str
    model: str
    data: str = Field(description="subset")
    unique_pairs: int
    samples_seen: int = Field(description="of the whole run: steps x global batch")
    samples_trained: int = Field(description="that the cell still adds, beyond its trunk and its saved state")
    seed: int
    state: State
    reason: str = Field(description="of the state, in words")
    steps: int
    epochs: float
    learning_rate: float
    global_batch_size: int
    gmacs_per_sample: float = Field(description="forward compute of both towers, GMAC")
    compute_gmacs: float
    gpus: int
    cells_per_gpu: int = Field(1, description="that train on the same GPU at a time; each costs its share of the hours")
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
    origin: str = Field(description="where the speed comes from")
    basis: str = Field(description="the same in words")
    sd: float = Field(description="of ln speed")
    planned_hours: float | None = Field(None, description="device hours, the last estimate before the cell ran")
    used_hours: float | None = Field(None, description="device hours that a finished cell took")
    evaluation_hours: float = Field(0.0, description="evaluation and fine-tuning after it, on one device")
    evaluation_basis: str = ""
    evaluation_jobs: int = Field(1, description="jobs that share its evaluation (`evaluation.jobs`)")


class Stage(BaseModel):
    """Storage of one stage."""

    model_config = ConfigDict(frozen=True)

    stage: str
    gb: float = Field(description="at rest")
    peak_gb: float = Field(description="at the fullest")
    files: int = Field(description="inodes at rest")


class PlanFile(Record):
    """What will run, cost and teach. Written by `clip-scaling plan` and the rule `plan`."""

    FILE: ClassVar[str] = "plan/plan.json"
    REMEDY: ClassVar[str] = "Delete it; the next `clip-scaling plan` makes it again."

    study: str
    rows: list[PlannedCell] = Field(description="a row a cell, in the grid's order")
    stages: list[Stage]
    difference: str = Field(description="from the last plan, in words")
    notes: list[str]
    schedule: dict[str, Any] | None = Field(description="simulated: devices, end, utilisation, spans of cells")
    knowledge: dict[str, Any] | None = Field(description="what the cells will teach; null without measurements")
    totals: dict[str, Any] = Field(description="sums over the cells, with intervals")
