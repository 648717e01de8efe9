"""Given a compute budget: how large a model, and how many samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import LawError
from .fits import fit_runs
from .intervals import bootstrap
from .methods import Method
from .student import slope_and_error, t_reach
from .table import Runs, UnfitPoints

_GRID = 2001  # Model sizes tried for a budget; a parabola through the best three refines the minimum.
SAME_COMPUTE = 1.1  # Runs within 10 % of the next lie on one isoFLOP curve.


def compute_optimal(
    runs: Runs,
    method: Method,
    budgets: Sequence[float],
    unique: float | None = None,
    *,
    draws: int = 500,
    seed: int = 0,
    level: float = 0.95,
) -> pd.DataFrame:
    """The model size (GMAC per sample) and samples seen that a form in both promises the least error with.

    budgets: GMAC. unique: distinct pairs, for forms that read them. Returns a row a budget: compute_gmacs, gmacs,
    gmacs_low, gmacs_high, samples, samples_low, samples_high, error; intervals by the bootstrap over runs. A number is
    NaN where the least error lies at the edge of what was looked at (a thousandth to a thousand times the models
    measured): the form then has no optimum there. LawError for a form without model and samples.
    """
    form = method.law
    if not {"gmacs", "samples"} <= set(form.factors):
        raise LawError(f"{method.name} does not tell model from samples. Use additive, data-constrained or chinchilla.")
    if "unique" in form.factors and unique is None:
        raise LawError(f"{method.name} reads unique pairs. Say how many there are.")
    law = fit_runs(runs, method, draws=0, intervals=False)
    assert law.reference is not None and law.theta is not None
    ones = np.ones(len(runs))
    sample = bootstrap(runs, ones, method, law.reference, law.theta, draws, np.random.default_rng(seed))
    sizes = np.log(np.geomspace(runs.gmacs.min() / 1e3, runs.gmacs.max() * 1e3, _GRID))
    rows = []
    for budget in budgets:
        factors = {
            "gmacs": np.exp(sizes),
            "samples": budget / np.exp(sizes),
            "unique": np.full(_GRID, unique or np.nan),
        }
        columns = law.reference.columns(**{name: factors[name] for name in form.factors})
        best, error = _minimum(sizes, form.log_error(law.theta[None], columns))
        spread, _ = _minimum(sizes, form.log_error(sample, columns))
        low, high = (
            np.exp(np.quantile(spread, [(1 - level) / 2, (1 + level) / 2])) if np.isfinite(spread).all() else _NO
        )
        size = float(np.exp(best[0]))
        rows.append(
            {
                "compute_gmacs": budget,
                "gmacs": size,
                "gmacs_low": low,
                "gmacs_high": high,
                "samples": budget / size,
                "samples_low": budget / high,
                "samples_high": budget / low,
                "error": float(np.exp(error[0])),
            }
        )
    return pd.DataFrame(rows)


_NO = (np.nan, np.nan)


def _minimum(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place and value of the least y (b, n) over evenly spaced x (n,); NaN place at an edge."""
    at = y.argmin(axis=-1)
    inner = np.clip(at, 1, len(x) - 2)
    rows = np.arange(len(y))
    left, middle, right = y[rows, inner - 1], y[rows, inner], y[rows, inner + 1]
    curvature = left - 2 * middle + right
    with np.errstate(divide="ignore", invalid="ignore"):
        step = np.where(curvature > 0, (left - right) / (2 * curvature), 0.0)
    place = x[inner] + step * (x[1] - x[0])
    return np.where(at == inner, place, np.nan), middle - (left - right) * step / 4


def isoflop_minima(runs: Runs) -> pd.DataFrame:
    """A parabola of ln E in ln model size through the best runs of each compute, and its minimum.

    One row a compute with at least three model sizes and a parabola that opens upward: compute_gmacs (geometric mean),
    models, gmacs, samples, error at the minimum.
    """
    order = np.argsort(runs.compute)
    steps = runs.compute[order][1:] > SAME_COMPUTE * runs.compute[order][:-1]
    group = np.empty(len(runs), dtype=int)
    group[order] = np.concatenate([[0], np.cumsum(steps)])
    frame = pd.DataFrame({"group": group, "x": np.log(runs.gmacs), "y": np.log(runs.error), "c": np.log(runs.compute)})
    rows = []
    for _, part in frame.groupby("group"):
        best = part.loc[part.groupby("x")["y"].idxmin()]
        if len(best) < 3:
            continue
        square, linear, constant = np.polyfit(best["x"], best["y"], 2)
        place = -linear / (2 * square)
        if square > 0 and best["x"].min() <= place <= best["x"].max():
            compute, size = float(np.exp(best["c"].mean())), float(np.exp(place))
            least = float(np.exp(constant + linear * place / 2))
            row = {"compute_gmacs": compute, "models": len(best), "gmacs": size, "samples": compute / size}
            rows.append(row | {"error": least})
    return pd.DataFrame(rows, columns=["compute_gmacs", "models", "gmacs", "samples", "error"])


def isoflop_exponent(minima: pd.DataFrame, level: float = 0.95) -> tuple[float, float, float]:
    """Exponent of the optimal model size in compute, low, high (Student's t), from at least three isoFLOP minima."""
    if len(minima) < 3:
        raise UnfitPoints(
            f"isoFLOP: {len(minima)} compute levels have a parabola with its minimum inside; an exponent with an "
            "interval needs three. Train at least three model sizes at each of three computes."
        )
    slope, error = slope_and_error(np.log(minima["compute_gmacs"].to_numpy()), np.log(minima["gmacs"].to_numpy()))
    reach = t_reach(level, len(minima) - 2) * error
    return slope, slope - reach, slope + reach
