"""Given a compute budget: how large a model, and how many samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import LawError
from .fits import fit_runs
from .identify import NOTHING_OPEN, Unidentified, unidentified
from .intervals import redraw, refit
from .methods import Method
from .runs import Runs, UnfitPoints

_GRID = 401  # Model sizes tried for a budget; a parabola through the best three refines the minimum.


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
    gmacs_low, gmacs_high, samples, samples_low, samples_high, error; intervals by refits of redrawn runs. A number is
    NaN where the least error lies at the edge of what was looked at (a thousandth to a thousand times the models
    measured): the form then has no optimum there. LawError for a form without model and samples, UnfitPoints where the
    design does not identify the terms of both.
    """
    form = method.law
    if not {"gmacs", "samples"} <= set(form.factors):
        raise LawError(
            f"{method.name} does not separate model from samples. Use additive, data-constrained or chinchilla."
        )
    if "unique" in form.factors and unique is None:
        raise LawError(f"{method.name} reads unique pairs. Say how many there are.")
    law = fit_runs(runs, method, draws=0, intervals=False)
    assert law.reference is not None and law.theta is not None and law.used is not None
    if design := open_terms(law.used, method):
        raise UnfitPoints(
            f"{method.name} gives no optimum, for the runs do not identify {design}",
            place=runs.place,
            remedy="Add runs that vary model size and samples seen, each on its own.",
        )
    ones = np.ones(len(runs))
    redraws = redraw(runs, method, law.reference, law.theta, ones, draws, np.random.default_rng(seed))
    sample = np.vstack([law.theta, refit(runs, redraws.values, ones, method, law.reference, law.theta)])
    sizes = np.log(np.geomspace(runs.gmacs.min() / 1e3, runs.gmacs.max() * 1e3, _GRID))
    rows = []
    for budget in budgets:
        factors = {
            "gmacs": np.exp(sizes),
            "samples": budget / np.exp(sizes),
            "unique": np.full(_GRID, unique or np.nan),
        }
        columns = law.reference.columns(**{name: factors[name] for name in form.factors})
        place, least = _minimum(sizes, form.log_error(sample, columns))
        # A draw without an optimum leaves an end open: the interval is not stated.
        ends = np.quantile(place[1:], [(1 - level) / 2, (1 + level) / 2]) if np.isfinite(place).all() else np.nan
        low, high = np.exp(np.broadcast_to(ends, 2)).tolist()
        size, found = float(np.exp(place[0])), bool(np.isfinite(place[0]))
        rows.append(
            {
                "compute_gmacs": budget,
                "gmacs": size,
                "gmacs_low": low,
                "gmacs_high": high,
                "samples": budget / size,
                "samples_low": budget / high,
                "samples_high": budget / low,
                "error": float(np.exp(least[0])) if found else np.nan,
            }
        )
    return pd.DataFrame(rows)


def open_terms(runs: Runs, method: Method) -> Unidentified:
    """What these runs leave open of the terms of model and samples. A floor moves no optimum, and does not count."""
    design = unidentified(runs, method.law)
    needed = {name for name in method.law.parameters if name.endswith(("_gmacs", "_samples"))}
    return design if needed & set(design.parameters) else NOTHING_OPEN


def budgets_of(runs: Runs, per_decade: int) -> list[float]:
    """Budgets (GMAC) worth asking about, from the least compute measured to ten times the most."""
    low, high = np.log10(runs.compute.min()), np.log10(10 * runs.compute.max())
    steps = np.arange(np.ceil(per_decade * low), per_decade * high + 1e-9)
    return [float(f"{10 ** (step / per_decade):.2g}") for step in steps]


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
