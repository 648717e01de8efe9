"""What is fitted to one target, as `fit_law` writes it and tables, figures, the page and model cards read it.

An error is 1 - accuracy (or recall), or a loss in nats. Compute is in GMAC of forward passes. A number that the data
cannot support is null.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from .base import Record
from .filenames import law_place

Number = int | float
"""JSON keeps 1 and 1.0 apart, and so does a record."""


@dataclass(frozen=True)
class Verdict:
    """What a fit may claim.

    kind: `law` or `no law`. reservation: of a law, such as `not significant`. reason: for a reservation, or why there
    is no law.
    """

    kind: Literal["law", "no law"]
    reservation: str = ""
    reason: str = ""

    @classmethod
    def parse(cls, text: str | Verdict) -> Verdict:
        """Read `law`, `law, RESERVATION: reason` or `no law: reason`. ValueError for any other text."""
        if isinstance(text, Verdict):
            return text
        head, _, reason = text.partition(": ")
        kind, _, reservation = head.partition(", ")
        if kind == "law":
            return cls("law", reservation, reason)
        if kind == "no law":
            return cls("no law", reservation, reason)
        raise ValueError(f"{text!r} is no verdict: it begins with neither `law` nor `no law`")

    def __str__(self) -> str:
        head = f"{self.kind}, {self.reservation}" if self.reservation else self.kind
        return f"{head}: {self.reason}" if self.reason else head

    @property
    def short(self) -> str:
        """Without the reason."""
        return str(Verdict(self.kind, self.reservation))

    @property
    def is_law(self) -> bool:
        return self.kind == "law"


class Row(BaseModel):
    """One row of a list in a law file."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class PointUsed(Row):
    """A run that a law is fitted to."""

    cell: str
    compute_gmacs: Number = Field(description="where the method puts the run, GMAC")
    error: Number


class CurvePoint(Row):
    """A place on a law's line, with its 95 % band."""

    compute_gmacs: Number
    error: Number
    low: Number | None
    high: Number | None


class HeldOut(Row):
    """A dearer run that the law of the cheaper ones predicts."""

    cell: str
    compute_gmacs: Number
    actual: Number = Field(description="error that was measured")
    predicted: Number = Field(description="error by the law")
    low: Number = Field(description="lower end of the 90 % interval of the error")
    high: Number
    threshold_gmacs: Number = Field(description="runs of less compute were fitted")
    n_fitted: int
    beyond: Number = Field(description="compute over the greatest fitted compute")


class FittedLaw(Row):
    """One distribution's runs by one method."""

    source: str = Field(description="training distribution; empty where a table names none")
    method: str
    points: str = Field(description="how points are chosen")
    form: str
    scale: str = Field(description="what residuals are taken in")
    estimator: str
    n_points: int
    alpha: Number | None = Field(description="signed exponent of compute")
    alpha_low: Number | None = Field(description="lower end of its 95 % interval")
    alpha_high: Number | None
    beta: Number | None = Field(description="error at one GMAC")
    floor: Number | None = Field(description="error that no compute removes")
    r2: Number | None
    holdout_mae: Number | None = Field(description="mean absolute error of the rolling hold-out")
    holdout_mae_pp: Number | None = Field(description="the same in percentage points; null for a loss")
    holdout_interval_held: Number | None = Field(description="share of 90 % intervals that held")
    verdict: Annotated[Verdict, BeforeValidator(Verdict.parse), PlainSerializer(str)] = Field(
        description="`law`, `law, RESERVATION: reason` or `no law: reason`"
    )
    parameters: dict[str, Number | None] = Field(description="of the form, in its natural units")
    intervals: dict[str, tuple[Number | None, Number | None]] = Field(description="95 %")
    points_used: list[PointUsed]
    curve: list[CurvePoint] = Field(description="empty for no law, and for a law of several factors")
    optimiser: dict[str, Any]
    holdout: list[HeldOut]
    interval: str = Field(description="where intervals come from: t, profile or bootstrap")
    n_saturated: int = Field(description="runs left out for an error of exactly 0 or 1")
    n_diverged: int = Field(description="runs left out because they diverged")
    interval_factor: Number | None = Field(None, description="what hold-out intervals were widened by; never in a file")

    @property
    def is_law(self) -> bool:
        return self.verdict.is_law


class Prediction(Row):
    """What a law predicts for a run or a scenario, in the metric's own sense: an accuracy, or a loss in nats."""

    source: str
    method: str
    model: str
    samples_seen: Number | None
    data: str
    compute_gmacs: Number
    predicted: Number
    low: Number | None = Field(description="lower end of the 90 % interval of one more run")
    high: Number | None
    actual: Number | None = Field(description="measured; null for a scenario without a run")


class RatioAt(Row):
    """The first distribution's error over the second's at one compute."""

    compute_gmacs: Number
    better: str | None = Field(description="the distribution of less error, where the interval excludes 1")
    ratio: Number
    ratio_low: Number
    ratio_high: Number


class Confound(Row):
    """A hyper-parameter of the runs of two distributions."""

    name: str
    first: list[Any]
    second: list[Any]
    matched: bool


class Comparison(Row):
    """Two distributions by one method."""

    first: str
    second: str
    method: str
    difference: Number = Field(description="alpha of the first less that of the second")
    difference_low: Number
    difference_high: Number
    significant: bool
    crossover_gmacs: Number | None
    crossover_low: Number | None
    crossover_high: Number | None
    better: list[RatioAt]
    confounds: list[Confound]
    verdict: str = Field(description="in words")


class ExponentByChoice(Row):
    """The exponent under one defensible choice."""

    source: str
    left_out: str = Field(description="model or data set that the fit leaves out; empty for none")
    points: str
    scale: str
    estimator: str
    n_points: int
    alpha: Number


class LeftOut(Row):
    """The error of a left-out cell, and what a method fitted to the other models predicts for it."""

    source: str
    method: str
    holdout_mae: Number | None = Field(description="over the fitted runs alone")
    cells: int = Field(description="of that hold-out")
    misses: list[Number] = Field(description="half-widths between prediction and error, of that hold-out")
    cell: str
    compute_gmacs: Number
    actual: Number = Field(description="error that was measured")
    predicted: Number = Field(description="error")
    low: Number = Field(description="lower end of the 90 % interval of the error")
    high: Number


class Optimum(Row):
    """Model size and samples seen of least error at one compute budget."""

    source: str
    method: str
    unique_pairs: Number | None
    compute_gmacs: Number = Field(description="the budget")
    models: Number | str | None = Field(description="the models whose shapes were looked at")
    gmacs: Number | None = Field(description="size of the best model, forward pass of one sample")
    gmacs_low: Number | None
    gmacs_high: Number | None
    samples: Number | None
    samples_low: Number | None
    samples_high: Number | None
    error: Number | None
    verdict: str = Field(description="whether the optimum lies among what was measured")

    @property
    def is_beyond(self) -> bool:
        """Whether no model or budget near the optimum was trained."""
        return "beyond" in self.verdict


class NextCell(Row):
    """What one more run would take off the exponent's interval."""

    source: str
    method: str
    model: str
    data: str
    gmacs_per_sample: Number
    samples_seen: Number
    unique_pairs: Number | None
    compute_gmacs: Number
    half_width_now: Number | None
    half_width_then: Number | None
    shrinkage: Number | None
    shrinkage_per_gmac: Number | None


class LawFile(Record):
    """All that is fitted to one target. Written by `fit_law` and `clip-scaling fit`."""

    FILE: ClassVar[str] = "laws/TARGET/METRIC.json"

    target: str
    metric: str
    fits: list[FittedLaw]
    predictions: list[Prediction] = []
    comparisons: list[Comparison] = []
    sensitivity: list[ExponentByChoice] = []
    leave_out: list[LeftOut] = []
    allocation: list[Optimum] = []
    next_cells: list[NextCell] = []

    @property
    def place(self) -> str:
        """Where the file lies below results/{study}."""
        return law_place(self.target, self.metric)
