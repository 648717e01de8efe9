"""A forecast: what a law says of runs before they are run, sealed so that it can be judged after them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field

from ..errors import ManifestError
from .base import Record
from .files import canonical_json
from .laws import Row


class ForecastPoint(Row):
    """A run that the law was fitted to."""

    cell: str
    compute_gmacs: float
    error: float = Field(description="1 - accuracy, or a loss in nats")


class ForecastCell(Row):
    """What the law says of a run that is to come. An empty name: the run is found by its size, samples and pairs."""

    cell: str
    model: str
    gmacs_per_sample: float | None
    samples_seen: float | None
    unique_pairs: float | None
    compute_gmacs: float
    error: float = Field(description="predicted")
    low: float = Field(description="lower end of the 90 % interval of one run")
    high: float


class Forecast(Record):
    """Predictions, frozen before their runs. Written by `clip-scaling forecast`; read by `clip-scaling judge`."""

    FILE: ClassVar[str] = "forecast.json"
    REMEDY: ClassVar[str] = "Take the file as it was committed or published."
    IS_SEALED: ClassVar[bool] = False

    kind: Literal["forecast", "replay"] = Field(description="replay: its runs had been measured when it was made")
    made: str = Field(description="UTC, ISO 8601")
    commit: str | None = Field(description="of the code; null outside a checkout")
    diff_sha256: str | None = Field(description="of uncommitted changes of the code")
    target: str
    metric: str
    source: str
    method: str
    is_chosen_by_holdout: bool = Field(description="false: the method was named")
    verdict: str = Field(description="of the fit, in words")
    parameters: dict[str, float] = Field(description="of the law")
    points: list[ForecastPoint]
    cells: list[ForecastCell]
    sha256: str = Field("", description="of all the rest, as canonical JSON")

    @property
    def digest(self) -> str:
        """The sha256 that the content has."""
        rest = {name: value for name, value in self.as_json().items() if name != "sha256"}
        return hashlib.sha256(canonical_json(rest).encode()).hexdigest()

    def frozen(self) -> Self:
        """The same with its sha256."""
        return self.model_copy(update={"sha256": self.digest})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a forecast. ManifestError also where any of it differs from what was frozen."""
        found = super().read(path)
        if found.sha256 != found.digest:
            problem = "was altered after it was frozen: its content no longer has its sha256"
            raise ManifestError(problem, place=str(path), remedy=cls.REMEDY)
        return found
