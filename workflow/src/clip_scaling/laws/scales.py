"""Error scales: on what axis residuals are measured, and how far each run's error is known to be uncertain."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..records.metrics import is_loss
from .runs import Runs, UnfitPoints


@dataclass(frozen=True)
class Scale:
    """Residuals in ln E, every run alike."""

    name: str = "log"

    def value(self, log_error: np.ndarray) -> np.ndarray:
        """The axis on which residuals are measured."""
        return log_error

    def slope(self, log_error: np.ndarray) -> np.ndarray:
        """d value / d ln E."""
        return np.ones_like(log_error)

    def error(self, value: np.ndarray) -> np.ndarray:
        """The error at a value of this axis."""
        return np.exp(value)

    def prepare(self, runs: Runs) -> tuple[Runs, np.ndarray]:
        """The runs to fit, and the known variance of each on this axis (zeros where none is known)."""
        return runs, np.zeros(len(runs))


@dataclass(frozen=True)
class Logit(Scale):
    """Residuals in ln(E / (1 - E)): predictions stay below an error of 1."""

    name: str = "logit"

    def value(self, log_error: np.ndarray) -> np.ndarray:
        below = np.minimum(log_error, -1e-6)
        return below - np.log(-np.expm1(below))

    def slope(self, log_error: np.ndarray) -> np.ndarray:
        return -1 / np.expm1(np.minimum(log_error, -1e-6))

    def error(self, value: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-value))

    def prepare(self, runs: Runs) -> tuple[Runs, np.ndarray]:
        if is_loss(runs.metric):
            raise UnfitPoints(f"{runs.target} {runs.metric}: a loss has no logit. Choose the log scale.")
        if (runs.error >= 1).any():
            raise UnfitPoints(f"{runs.target} {runs.metric}: an error of 1 has no logit. Choose the log scale.")
        return runs, np.zeros(len(runs))


@dataclass(frozen=True)
class Binomial(Scale):
    """Residuals in ln E, with the sampling noise of the evaluation set known: (1 - E) / (E n)."""

    name: str = "binomial"

    def prepare(self, runs: Runs) -> tuple[Runs, np.ndarray]:
        if is_loss(runs.metric) or not np.isfinite(runs.tests).all():
            raise UnfitPoints(
                f"{runs.target} {runs.metric}: binomial noise needs an accuracy or recall, and the size of the "
                "evaluation set (column `n`) in every row. Add it, or choose the log scale."
            )
        right = np.maximum(1 - runs.error, 0.5 / runs.tests)  # none right of n is not known without noise
        return runs, right / (runs.error * runs.tests)


@dataclass(frozen=True)
class Replicates(Scale):
    """Residuals in ln E of the mean over seeds, with the seeds' pooled variance known."""

    name: str = "seeds"

    def prepare(self, runs: Runs) -> tuple[Runs, np.ndarray]:
        frame = pd.DataFrame({"y": np.log(runs.error), "row": np.arange(len(runs))})
        groups = frame.groupby([runs.model, runs.data, runs.samples], sort=False)
        count, first = groups["y"].count().to_numpy(), groups["row"].first().to_numpy()
        degrees = (count - 1).sum()
        if degrees < 1:
            raise UnfitPoints(
                f"{runs.target} {runs.metric}: no cell was trained with two seeds, so the seeds' variance is unknown. "
                "Add `seeds: [0, 1]` to the grid, or choose the log scale."
            )
        pooled = ((count - 1) * groups["y"].var().fillna(0).to_numpy()).sum() / degrees
        means = replace(runs.take(first), error=np.exp(groups["y"].mean().to_numpy()))
        order = np.lexsort((means.cell, means.compute))
        return means.take(order), (pooled / count)[order]


SCALES: dict[str, Scale] = {scale.name: scale for scale in (Scale(), Logit(), Binomial(), Replicates())}
