"""Grids with a known law, to test intervals, predictions and designs against."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from .runs import Runs


@dataclass(frozen=True)
class Truth:
    """A law written out: error(compute, GMAC per sample, samples seen, unique pairs), and its parameters."""

    error: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
    parameters: Mapping[str, float]


TRUTHS = {
    "power": Truth(lambda c, m, s, u: 6 * c**-0.11, {"alpha": -0.11}),
    "loglinear": Truth(
        lambda c, m, s, u: 9 * m**-0.12 * s**-0.07 * u**-0.06,
        {"alpha_gmacs": -0.12, "alpha_samples": -0.07, "alpha_unique": -0.06, "alpha": -0.095},
    ),
    "power-floor": Truth(lambda c, m, s, u: 900 * c**-0.35 + 0.2, {"alpha": -0.35, "floor": 0.2}),
    "chinchilla": Truth(
        lambda c, m, s, u: 0.5 * m**-0.5 + 9000 * s**-0.5 + 0.15,
        {"alpha_gmacs": -0.5, "alpha_samples": -0.5, "floor": 0.15},
    ),
}


def paper_grid() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """GMAC per sample, samples seen and unique pairs of the paper's 29 runs, at nominal samples."""
    cells = [(m, s, u) for m in (7.40, 20.57, 87.73) for s in (3e9, 13e9, 34e9) for u in (80e6, 407e6, 2.32e9)]
    cells += [(190.97, 34e9, 2.32e9), (290.74, 13e9, 2.32e9)]
    gmacs, samples, unique = np.array(cells).T
    return gmacs, samples, unique


def draw_runs(
    truth: Truth,
    deviation: float,
    generator: np.random.Generator,
    grid: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None,
) -> Runs:
    """Runs of a grid (by default the paper's) whose ln E scatters normally about the truth with this deviation."""
    gmacs, samples, unique = grid if grid is not None else paper_grid()
    compute = gmacs * samples
    error = truth.error(compute, gmacs, samples, unique) * np.exp(deviation * generator.standard_normal(len(gmacs)))
    order = np.argsort(compute, kind="stable")
    gmacs, samples, unique, compute, error = (a[order] for a in (gmacs, samples, unique, compute, error))
    names = np.array([f"cell-{i:03d}" for i in range(len(gmacs))], dtype=object)
    model = np.array([f"model-{m:g}" for m in gmacs], dtype=object)
    data = np.array([f"data-{u:g}" for u in unique], dtype=object)
    nothing = np.full(len(gmacs), np.nan)
    return Runs(
        "synthetic", "acc1", "", names, model, data, nothing, compute, error, gmacs, samples, unique, tests=nothing
    )
