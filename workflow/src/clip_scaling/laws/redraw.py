"""Redraw what a grid might have measured: every run stays at its place in the grid, its residual is drawn anew.

A grid is designed, not sampled: a bootstrap that repeats some runs and forgets others changes which corner of it holds
the frontier. Here each draw has all runs, and only their scatter about a smooth surface differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .table import Runs

SMOOTHING = 0.25  # Variance of the surface's departure from a plane, over that of a run's scatter.
REACH = 1.0  # How far such a departure is shared, in standard deviations of each coordinate.


@dataclass(frozen=True)
class Redraws:
    """values: (b, n) on the scale's axis; centre: (n,) what they scatter about; degrees: of freedom of the scatter.

    deviation: a run's standard deviation about the centre, where its weight is 1.
    """

    values: np.ndarray
    centre: np.ndarray
    degrees: float
    deviation: float


def smoother(runs: Runs) -> np.ndarray:
    """(n, n) linear smoother of values over the grid: a plane in the logarithms, and a shrunken smooth departure.

    The coordinates are GMAC per sample, samples seen and unique pairs, as far as the table has them and they vary;
    else compute. The departure is a Gaussian process of REACH and SMOOTHING (Rasmussen and Williams 2006, section 2.7).
    """
    given = [values for values in (runs.gmacs, runs.samples, runs.unique) if (np.isfinite(values) & (values > 0)).all()]
    logs = [np.log(values) for values in (given if len(given) > 1 else [runs.compute])]
    place = np.stack([(log - log.mean()) / log.std() for log in logs if np.ptp(log) > 0], axis=-1)
    plane = np.column_stack([np.ones(len(runs)), place])
    apart = ((place[:, None, :] - place[None, :, :]) ** 2).sum(axis=-1)
    shared = SMOOTHING * np.exp(-apart / (2 * REACH**2))
    whitened = np.linalg.solve(shared + np.eye(len(runs)), np.column_stack([plane, np.eye(len(runs))]))
    of_plane, inverse = whitened[:, : plane.shape[1]], whitened[:, plane.shape[1] :]
    flat = plane @ np.linalg.pinv(plane.T @ of_plane) @ of_plane.T
    return flat + shared @ inverse @ (np.eye(len(runs)) - flat)


def redraw_about_surface(
    runs: Runs, values: np.ndarray, weights: np.ndarray, draws: int, generator: np.random.Generator
) -> Redraws:
    """Draws about the smooth surface of these values (n,); weights (n,): inverse of their relative variances."""
    hat = smoother(runs)
    kept = ((np.eye(len(runs)) - hat) ** 2).sum(axis=1)
    return _redraw(hat @ values, values, kept, len(runs) - float(np.trace(hat)), weights, draws, generator)


def redraw_about_fit(
    fitted: np.ndarray,
    values: np.ndarray,
    parameters: int,
    weights: np.ndarray,
    draws: int,
    generator: np.random.Generator,
) -> Redraws:
    """Draws about a fitted law (n,) with this many parameters."""
    degrees = len(values) - parameters
    kept = np.full(len(values), degrees / len(values))  # Every run's leverage, on average.
    return _redraw(fitted, values, kept, degrees, weights, draws, generator)


def _redraw(
    centre: np.ndarray,
    values: np.ndarray,
    kept: np.ndarray,
    degrees: float,
    weights: np.ndarray,
    draws: int,
    generator: np.random.Generator,
) -> Redraws:
    """Residuals, scaled up to a run's variance (of which the fit kept a share), dealt anew, scaled to the weights."""
    root = np.sqrt(weights)
    # A run of leverage 1 has no residual: 0 over a little, not 0 over 0.
    residuals = root * (values - centre) / np.sqrt(np.maximum(kept, 1e-3))
    residuals -= residuals.mean()
    dealt = residuals[generator.integers(0, len(values), (draws, len(values)))]
    return Redraws(centre + dealt / root, centre, degrees, float(np.sqrt((residuals**2).mean())))
