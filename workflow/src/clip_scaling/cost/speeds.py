"""Samples per second of a cell: measured, piloted, read from a table, or from a roofline; each with its uncertainty.

The roofline adds up what a step needs: matrix products at a share of the device's peak, activations through its memory,
on a GPU the launching of its kernels, gradients and features over its link. What was measured of other models on the
same kind of device corrects its level.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ..errors import ConfigError
from ..models.roofline import PRECISION_SECONDS, Manner, Work, sample_seconds
from ..models.size import ModelSize
from ..study.config.devices import CPU, DEVICES, device_kind, figures_of
from ..study.config.resources import TrainResources
from ..study.config.training import Recipe
from ..study.counts import parse_count
from ..study.grid import Cell

PRIOR_SD = 0.6
"""Of ln speed, of a roofline that nothing measured has corrected: a factor 2.7 either way at 90 %."""
MODEL_SD = 0.15
"""At least: how rooflines of different models differ in level."""
SCATTER = {"measured": 0.05, "pilot": 0.10, "table": 0.10}
"""At least: ln speed of runs alike."""
EXACT_SD = 0.05
"""Of a speed known for the very run."""
SCALING_SD = 0.1
"""More, for each factor e in the number of devices between what is known and what is asked."""
START_SECONDS = 8.0
"""Of a job that nothing is known of: Python, torch, the model, its last save."""
ORIGINS = ("measured", "pilot", "table")
Z90 = 1.6449
"""Of the normal distribution's 90 % interval."""


@dataclass(frozen=True)
class Speed:
    """One known speed. data, samples_seen: of the very run, if it is one. overhead_seconds: a job's, beside steps.

    start_seconds: of these, before the first step; 0 where nobody looked. precision: of the recipe, where it is known.
    """

    model: str
    kind: str
    devices: int
    samples_per_second_per_device: float
    origin: str
    data: str | None = None
    samples_seen: int | None = None
    local_batch: float | None = None
    overhead_seconds: float = 0.0
    start_seconds: float = 0.0
    precision: str | None = None

    def seconds_against(self, precision: str) -> float:
        """Times that a step in its own precision takes as long as one in another, on this kind of device."""
        if self.kind == CPU or self.precision is None:
            return 1.0
        return PRECISION_SECONDS[self.precision] / PRECISION_SECONDS[precision]


@dataclass(frozen=True)
class Demand:
    """A cell as the cost model sees it. devices: GPUs, or CPU cores. local_batch: samples a device and step."""

    cell: Cell
    kind: str
    devices: int
    local_batch: float
    is_recomputed: bool
    is_half: bool
    precision: str = "amp_bf16"


@dataclass(frozen=True)
class Estimate:
    """samples_per_second: of the whole job, the median; sd: of its ln; basis: where it comes from, in words.

    start_seconds: of any job of the model, before its first step.
    """

    samples_per_second: float
    sd: float
    overhead_seconds: float
    origin: str
    basis: str
    start_seconds: float = START_SECONDS

    def hours(self, samples: float) -> tuple[float, float, float]:
        """Wall hours for a number of samples: the estimate, and its 90 % interval."""
        steps, rest = samples / self.samples_per_second / 3600, self.overhead_seconds / 3600
        reach = math.exp(Z90 * self.sd)
        return steps + rest, steps / reach + rest, steps * reach + rest


def demand(cell: Cell, recipe: Recipe, resources: TrainResources) -> Demand:
    """What a cell asks of which devices."""
    gpus = resources.gpus_per_node
    kind = device_kind(resources.gpu_kind, gpus)
    devices = resources.ranks if gpus else resources.ranks * resources.threads
    is_half, local_batch = recipe.precision.startswith("amp"), recipe.global_batch_size / devices
    return Demand(cell, kind, devices, local_batch, resources.gradient_checkpointing, is_half, recipe.precision)


class SpeedModel:
    """Answers with the best knowledge there is of a cell's speed. models: open_clip config by name."""

    def __init__(self, speeds: Iterable[Speed], models: Mapping[str, dict[str, Any]]) -> None:
        self.models = models
        self.work = {name: Work.of(config) for name, config in models.items()}
        self.sizes: dict[str, ModelSize] = {name: work.size for name, work in self.work.items()}
        self.speeds: dict[tuple[str, str, str], list[Speed]] = {}
        for speed in speeds:
            self.speeds.setdefault((speed.origin, speed.model, speed.kind), []).append(speed)
        self._scatter: dict[tuple[str, str], float] = {}
        self._levels: dict[str, tuple[float, float, int]] = {}

    def estimate(self, wanted: Demand) -> Estimate:
        """The speed of a cell, from the first of: finished cells, pilot, table, roofline."""
        for origin in ORIGINS:
            known = self.speeds.get((origin, wanted.cell.model, wanted.kind))
            if known:
                return self._from_known(origin, known, wanted)
        return self._from_roofline(wanted)

    def _from_known(self, origin: str, known: list[Speed], wanted: Demand) -> Estimate:
        cell = wanted.cell
        exact = [s for s in known if s.data == cell.data and s.samples_seen == cell.samples_seen]
        exact = [s for s in exact if s.devices == wanted.devices]
        alike = [s for s in known if s.devices == wanted.devices]
        chosen = exact or alike or known
        logs = [math.log(s.samples_per_second_per_device * s.seconds_against(wanted.precision)) for s in chosen]
        # Overheads are of one kind of job: the median of all that the model is known by.
        overhead = median(s.overhead_seconds for s in chosen)
        if exact:
            sd, what = EXACT_SD, "this very run"
        else:
            sd = self._scatter_of(origin, wanted.kind) * math.sqrt(1 + 1 / len(chosen))
            what = f"{len(chosen)} of {wanted.devices} {wanted.kind}"
            if not alike:
                away = median(abs(math.log(s.devices / wanted.devices)) for s in chosen)
                sd = math.hypot(sd, SCALING_SD * away)
                counts = ", ".join(str(n) for n in sorted({s.devices for s in chosen}))
                what = f"{len(chosen)} of {counts} {wanted.kind}"
        start = self._start_of(wanted.kind)
        if origin == "pilot":  # the first job of a day starts from a cold disk: what all models share is their median
            overhead += start - median(s.start_seconds or start for s in chosen)
        return Estimate(math.exp(fmean(logs)) * wanted.devices, sd, overhead, origin, f"{origin}: {what}", start)

    def _start_of(self, kind: str) -> float:
        """Seconds before the first step, the median over the pilots of all models."""
        known = [s.start_seconds for pilots in self.speeds.values() for s in pilots if s.kind == kind]
        return median(start for start in known if start) if any(known) else START_SECONDS

    def _scatter_of(self, origin: str, kind: str) -> float:
        """Standard deviation of ln speed a device between runs of one model, pooled over models."""
        if (origin, kind) not in self._scatter:
            squares, degrees = 0.0, 0
            for (its_origin, _, its_kind), known in self.speeds.items():
                if (its_origin, its_kind) == (origin, kind) and len(known) > 1:
                    logs = [math.log(s.samples_per_second_per_device) for s in known]
                    squares += sum((value - fmean(logs)) ** 2 for value in logs)
                    degrees += len(logs) - 1
            found = math.sqrt(squares / degrees) if degrees else 0.0
            self._scatter[origin, kind] = max(SCATTER[origin], found)
        return self._scatter[origin, kind]

    def _from_roofline(self, wanted: Demand) -> Estimate:
        level, sd, models = self._level(wanted.kind)
        corrected = f"its level from {models} other models" if models else "nothing measured"
        speed = wanted.devices / (self.roofline_seconds(wanted) * math.exp(level))
        return Estimate(speed, sd, START_SECONDS, "roofline", f"roofline of {wanted.kind}, {corrected}")

    def roofline_seconds(self, wanted: Demand) -> float:
        """Device-seconds a sample, by the roofline alone."""
        figures, size = figures_of(wanted.kind), self.sizes[wanted.cell.model]
        how = Manner(wanted.local_batch, wanted.precision, wanted.is_recomputed, wanted.is_half)
        own = sample_seconds(self.work[wanted.cell.model], wanted.kind, how)
        link = 0.0
        if wanted.devices > 1 and figures.memory_gb is not None:
            # All-reduce of fp32 gradients passes each link twice; features of the global batch come and go once.
            link = (8 * size.parameters / wanted.local_batch + 8 * wanted.devices * size.embed_dim) / (
                figures.link_gb_s * 1e9
            )
        return own + link

    def _level(self, kind: str) -> tuple[float, float, int]:
        """ln of (measured over roofline) device-seconds; the standard deviation for a new model; of how many models."""
        if kind not in self._levels:
            self._levels[kind] = self._find_level(kind)
        return self._levels[kind]

    def _find_level(self, kind: str) -> tuple[float, float, int]:
        models: dict[str, list[float]] = {}
        for (_, model, its_kind), known in self.speeds.items():
            if its_kind == kind and model in self.models:
                models.setdefault(model, []).extend(self._residual(speed) for speed in known)
        if not models:
            return 0.0, PRIOR_SD, 0
        middles = [median(values) for values in models.values()]
        # A level is drawn to 0, the roofline's own, by a prior as wide as PRIOR_SD.
        between = max(MODEL_SD, math.sqrt(sum((m - fmean(middles)) ** 2 for m in middles) / max(1, len(middles) - 1)))
        pull = PRIOR_SD**2 / (PRIOR_SD**2 + between**2 / len(middles))
        apart = [value - median(values) for values in models.values() for value in values]
        within = math.sqrt(sum(value**2 for value in apart) / len(apart))
        sd = math.sqrt(within**2 + between**2 * (1 + pull / len(middles)))
        return pull * fmean(middles), sd, len(middles)

    def _residual(self, speed: Speed) -> float:
        cell = Cell(speed.model, speed.data or "", speed.samples_seen or 1, 0)
        is_gpu, precision = speed.kind != CPU, speed.precision or "amp_bf16"
        wanted = Demand(cell, speed.kind, speed.devices, speed.local_batch or 256, False, is_gpu, precision)
        return -math.log(speed.samples_per_second_per_device * self.roofline_seconds(wanted))

    def without(self, model: str) -> SpeedModel:
        """The same knowledge less all that is known of one model."""
        kept = [s for known in self.speeds.values() for s in known if s.model != model]
        return SpeedModel(kept, self.models)


COLUMNS = ("model", "gpu_kind", "gpus", "samples_per_second_per_gpu")


def read_speed_table(path: Path) -> list[Speed]:
    """Speeds of a CSV: COLUMNS, and where known data, samples_seen, local_batch_size; lines with # first are notes.

    ConfigError names the file and the line that is wrong.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise ConfigError(f"costs.throughput: {path}: no such file.") from None
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line and not line.startswith("#")]
    reader = csv.DictReader(line for _, line in numbered)
    missing = [column for column in COLUMNS if column not in (reader.fieldnames or [])]
    if missing:
        raise ConfigError(f"{path}: no column {', '.join(missing)}. It needs {', '.join(COLUMNS)}.")
    speeds = []
    for (number, _), row in zip(numbered[1:], reader, strict=True):
        try:
            speed = Speed(
                row["model"], row["gpu_kind"], int(row["gpus"]), float(row["samples_per_second_per_gpu"]), "table"
            )
            if speed.samples_per_second_per_device <= 0 or speed.devices <= 0:
                raise ValueError("gpus and samples_per_second_per_gpu must be above 0")
            if speed.kind not in DEVICES:
                raise ValueError(f"gpu_kind {speed.kind!r} is not one of {', '.join(DEVICES)}")
            batch = row.get("local_batch_size")
            seen = row.get("samples_seen")
            speed = replace(speed, data=row.get("data") or None, samples_seen=parse_count(seen) if seen else None)
            speeds.append(replace(speed, local_batch=float(batch) if batch else None))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"{path}, line {number}: {error}") from None
    return speeds
