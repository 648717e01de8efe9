"""The curve of a training run, curve.jsonl: a line for each point of it and for each validation."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import ManifestError
from .filenames import CURVE
from .files import remake
from .lines import lines_so_far, read_lines, write_lines


class TrainingPoint(BaseModel):
    """The training at one step; about a hundred lines of curve.jsonl. Speed and wait are since the point before."""

    model_config = ConfigDict(frozen=True)
    FILE: ClassVar[str] = CURVE

    step: int
    samples: int = Field(description="seen so far")
    loss: float | None = Field(description="of the global batch, nats; null where it was not finite")
    learning_rate: float
    gradient_norm: float | None = Field(description="before clipping; null where not finite or not known")
    logit_scale: float
    pairs_per_second: float
    data_wait_share: float = Field(description="of the time, spent waiting for the next batch")
    memory_mb: float = Field(description="peak of the process: on the GPU where it uses one")
    seconds: float = Field(description="of training so far, all attempts together")


class ValidationPoint(BaseModel):
    """A small evaluation on the way; a line of curve.jsonl."""

    model_config = ConfigDict(frozen=True)
    FILE: ClassVar[str] = CURVE

    step: int
    samples: int = Field(description="seen so far")
    validation: dict[str, float] = Field(description="value by `set/metric`")


CurvePoints = list[TrainingPoint | ValidationPoint]


def read_curve(path: Path) -> CurvePoints:
    """Read a finished curve. ManifestError names the line that is none of it."""
    points: CurvePoints = []
    for number, line in enumerate(read_lines(path), start=1):
        point = _point(line)
        if point is None:
            problem = f"line {number} is no point of a training curve"
            raise ManifestError(problem, place=str(path), remedy=remake(path))
        points.append(point)
    return points


def curve_so_far(path: Path) -> CurvePoints:
    """Read the curve of a run that goes on, or of none; a line that a kill tore is passed over."""
    return [point for line in lines_so_far(path) if (point := _point(line)) is not None]


def write_curve(path: Path, points: Iterable[TrainingPoint | ValidationPoint]) -> None:
    """Write a whole curve atomically."""
    write_lines(path, (point.model_dump() for point in points))


def _point(line: dict[str, Any]) -> TrainingPoint | ValidationPoint | None:
    try:
        return (ValidationPoint if "validation" in line else TrainingPoint).model_validate(line)
    except ValidationError:
        return None
