"""Redraw what a grid might have measured: every run stays at its place in the grid, its residual is redrawn.

A grid is designed, not sampled: a bootstrap that repeats some runs and forgets others changes which corner of it holds
the frontier. Here each draw has all runs, and only their scatter about a smooth surface differs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .runs import Runs

SMOOTHING = 0.25  # Variance of the surface's departure from a plane, over that of a run's scatter.
REACH = 1.0  # How far such a departure is shared, in standard deviations of each coordinate.

MOST_FOR_SURFACE = 1000  # The surface takes memory of the square, and time of the cube: more runs get the plane alone.


@dataclass(frozen=True)
class Redraws:
    """values: (b, n) on the scale's axis; centre: (n,) what they scatter about; degrees: of freedom of the scatter.

    deviation: a run's standard deviation about the centre, where its weight is 1.
    """

    values: np.ndarray
    centre: np.ndarray
    degrees: float
    deviation: float


def plane(runs: Runs) -> np.ndarray:
    """(n, 1 + k) a column of ones, then the grid's coordinates: logarithms, standardised.

    They are GMAC per sample, samples seen and unique pairs, as far as the table has them and they vary; else compute.
    """
    given = [values for values in (runs.gmacs, runs.samples, runs.unique) if (np.isfinite(values) & (values > 0)).all()]
    logs = [log for log in map(np.log, given) if np.ptp(log) > 0] if len(given) > 1 else []
    columns = [(log - log.mean()) / log.std() for log in logs or [np.log(runs.compute)]]
    return np.stack([np.ones(len(runs)), *columns], axis=-1)


def smoother(runs: Runs) -> np.ndarray:
    """(n, n) linear smoother of values over the grid: its plane, and a shrunken smooth departure.

    The departure is a Gaussian process of REACH and SMOOTHING (Rasmussen and Williams 2006, section 2.7).
    """
    basis, identity = plane(runs), np.eye(len(runs))
    apart = ((basis[:, None, :] - basis[None, :, :]) ** 2).sum(axis=-1)
    shared = SMOOTHING * np.exp(-apart / (2 * REACH**2))
    whitened = np.linalg.solve(shared + identity, np.concatenate([basis, identity], axis=1))
    of_basis, inverse = whitened[:, : basis.shape[1]], whitened[:, basis.shape[1] :]
    flat = basis @ np.linalg.pinv(basis.T @ of_basis) @ of_basis.T
    return flat + shared @ inverse @ (identity - flat)


def redraw_about_surface(
    runs: Runs, values: np.ndarray, weights: np.ndarray, draws: int, generator: np.random.Generator
) -> Redraws:
    """Draws about the smooth surface of these values (n,); weights (n,): inverse of their relative variances."""
    if len(runs) > MOST_FOR_SURFACE:
        orthonormal, _ = np.linalg.qr(plane(runs))
        centre, leverage = orthonormal @ (orthonormal.T @ values), (orthonormal**2).sum(axis=1)
        return _redraw(centre, values, 1 - leverage, len(runs) - leverage.sum(), weights, draws, generator)
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
    """Residuals, scaled up to a run's variance (of which the fit kept a share), redrawn, and scaled to the weights."""
    root = np.sqrt(weights)
    # A run of leverage 1 has no residual: 0 over a little, not 0 over 0.
    residuals = root * (values - centre) / np.sqrt(np.maximum(kept, 1e-3))
    residuals -= residuals.mean()
    dealt = residuals[generator.integers(0, len(values), (draws, len(values)))]
    return Redraws(centre + dealt / root, centre, degrees, float(np.sqrt((residuals**2).mean())))
