"""What the files of a study say of its cells: finished records, saved states, heartbeats, pilots, seconds."""

from __future__ import annotations

from pathlib import Path

from ..records.data import SubsetManifest
from ..records.plan import PlanFile
from ..records.training import Pilot, TrainRecord
from ..study.config.devices import CPU, UNKNOWN_GPU, kind_of
from ..study.counts import format_count
from ..study.grid import Cell, trunk_name
from ..study.paths import DataPaths, StudyPaths
from .speeds import Speed


class Results:
    """The results of a study, below a project folder. Read only, and from files alone."""

    def __init__(self, root: Path, study: str) -> None:
        self.root = root
        self.paths = StudyPaths(study, root / "results")
        self.data = DataPaths(root / "results")
        self._digests: dict[str, str | None] = {}

    def trunk(self, cell: Cell) -> Path:
        """Folder of the part of a trunk that ends at a cell's branch point."""
        return self.paths.trunk(trunk_name(cell), format_count(cell.samples_seen))

    def order_digest(self, data: str) -> str | None:
        """Digest of a prepared subset's order; None where it is not prepared."""
        if data not in self._digests:
            path = self.data.manifest(data)
            self._digests[data] = SubsetManifest.read(path).order_digest if path.is_file() else None
        return self._digests[data]

    def job_seconds(self, job: str) -> float | None:
        """Wall seconds of a job, `evaluate/{cell}`, by Snakemake's benchmark file; None without one."""
        try:
            return float(self.paths.benchmark(job).read_text(encoding="utf-8").splitlines()[1].split("\t")[0])
        except (FileNotFoundError, IndexError, ValueError):
            return None  # a job that was killed leaves none, or half of one


def evaluation_seconds(results: Results, cell: str, jobs: int) -> float | None:
    """Seconds of an evaluation, of all jobs that shared it; None where one has left none."""
    shares = [f"evaluate/{cell}/jobs/{job}-of-{jobs}" for job in range(1, jobs + 1)] if jobs > 1 else []
    found = [results.job_seconds(job) for job in (f"evaluate/{cell}", *shares)]
    known = [seconds for seconds in found if seconds is not None]
    return sum(known) if len(known) == len(found) else None


def used_seconds(results: Results, cell: str, seconds: float) -> float:
    """Wall seconds that a finished cell took. seconds: of its steps, by its record.

    The whole last job, start-up included; or its steps, where attempts before that job made most of them.
    """
    return max(results.job_seconds(f"train/{cell}") or 0.0, seconds)


def read_record(results: Results, cell: Cell) -> TrainRecord | None:
    """The record of a finished cell; None where it has not finished."""
    path = results.paths.trained(cell.name)
    return TrainRecord.read(path) if path.is_file() else None


def last_plan(results: Results) -> PlanFile | None:
    """The last plan; None before the first."""
    path = results.paths.plan()
    return PlanFile.read(path) if path.is_file() else None


def saved_step(resume: Path) -> int | None:
    """The step of the newest saved state; None without one. The name is `step-{step}-{sha256}.pt`."""
    steps = [int(path.name.split("-")[1]) for path in resume.glob("step-*-*.pt")] if resume.is_dir() else []
    return max(steps, default=None)


def measured_speed(cell: Cell, record: TrainRecord, job_seconds: float | None) -> Speed | None:
    """The speed of a finished cell; None where it made no sample."""
    speed, is_gpu = record.samples_per_second, "cuda" in record.device
    if not speed:
        return None
    kind = _gpu_kind(record) if is_gpu else CPU
    devices = record.ranks if is_gpu else record.ranks * record.threads
    return Speed(
        cell.model,
        kind,
        devices,
        speed / devices,
        "measured",
        data=cell.data,
        samples_seen=cell.samples_seen,
        local_batch=record.recipe["global_batch_size"] / devices,
        overhead_seconds=max(0.0, job_seconds - record.seconds) if job_seconds else 0.0,
        precision=record.recipe.get("precision"),
    )


def _gpu_kind(record: TrainRecord) -> str:
    """The kind of GPU that a cell was trained on: by its name, else as the study named it."""
    named = record.resources.get("gpu_kind")
    names = record.provenance.hardware.gpus
    return kind_of(names[0], named=named) if names else named or UNKNOWN_GPU


def read_pilots(results: Results) -> list[Speed]:
    """The speeds that `snakemake pilot` measured."""
    speeds = []
    for path in sorted(results.paths.plan("pilot").glob("*.json")):
        pilot = Pilot.read(path).model_dump()
        speeds.append(Speed(**{key: pilot[key] for key in Speed.__dataclass_fields__ if key in pilot}))
    return speeds
