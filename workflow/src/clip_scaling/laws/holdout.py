"""Rolling hold-out by compute: fit below a threshold, predict above it, for several thresholds.

What is predicted is the best run of each (model, budget) over data and seeds, as the paper's own comparison of
predicted and actual: a law says what can be reached at a compute, and every method is scored on the same runs.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .fits import Fit, fit_runs
from .methods import Method
from .runs import Runs, UnfitPoints

BUDGET_RATIO = 1.1  # Samples seen within 10 % of the next are one budget: the paper's "34B" is 32.0B to 34.7B.
LEVEL = 0.9
DRAWS = 300
MOST_THRESHOLDS = 20


def budgets(samples: np.ndarray) -> np.ndarray:
    """A number for each run's budget: neighbours in samples seen within 10 % share it."""
    order = np.argsort(samples)
    steps = samples[order][1:] > BUDGET_RATIO * samples[order][:-1]
    labels = np.empty(len(samples), dtype=int)
    labels[order] = np.concatenate([[0], np.cumsum(steps)])
    return labels


def best_cells(runs: Runs) -> np.ndarray:
    """Indices, by compute, of the best run of each (model, budget); of all runs where the table names no models."""
    if not np.isfinite(runs.samples).all() or (runs.model == "").all():
        return np.arange(len(runs))
    frame = pd.DataFrame({"model": runs.model, "budget": budgets(runs.samples), "error": runs.error})
    return np.sort(frame.groupby(["model", "budget"])["error"].idxmin().to_numpy())


def thresholds(runs: Runs) -> np.ndarray:
    """Compute (GMAC) of the best cells of the upper half: at each, it and what lies above is held out.

    Of more than MOST_THRESHOLDS as many, evenly spread.
    """
    cells = best_cells(runs)
    found = np.unique(runs.compute[cells[len(cells) - len(cells) // 2 :]])
    return found[np.unique(np.linspace(0, len(found) - 1, min(len(found), MOST_THRESHOLDS)).round().astype(int))]


def rolling_holdout(runs: Runs, method: Method, draws: int = DRAWS) -> pd.DataFrame:
    """One row a (threshold, held-out cell): threshold_gmacs, cell, compute_gmacs, beyond, n_fitted, actual, predicted,
    low, high (errors; 90 % prediction interval). `beyond` is compute over the greatest fitted compute.

    Thresholds below which the method cannot be fitted give no rows.
    """
    cells = best_cells(runs)
    parts = []
    for threshold in thresholds(runs):
        below, above = runs.compute < threshold, cells[runs.compute[cells] >= threshold]
        try:
            law = fit_runs(runs.take(below), method, draws=draws_for(method, draws), intervals=False)
        except UnfitPoints:
            continue
        parts.append(predict_runs(law, runs.take(above)).assign(threshold_gmacs=threshold, n_fitted=law.n_points))
        parts[-1]["beyond"] = parts[-1]["compute_gmacs"] / runs.compute[below].max()
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def draws_for(method: Method, draws: int = DRAWS) -> int:
    """Bootstrap draws for a prediction interval: none for Huber's estimator, whose every draw is a search."""
    return 0 if method.estimator == "huber" else draws


def predict_runs(law: Fit, runs: Runs) -> pd.DataFrame:
    """cell, compute_gmacs, actual, predicted, low, high (errors, 90 % prediction interval) of runs."""
    assert law.reference is not None
    predicted, low, high = law.predict(LEVEL, **{name: getattr(runs, name) for name in law.reference.logs})
    columns = {"cell": runs.cell, "compute_gmacs": runs.compute, "actual": runs.error}
    return pd.DataFrame(columns | {"predicted": predicted, "low": low, "high": high})


def mean_absolute_error(rows: pd.DataFrame) -> float:
    """In the error's own unit: a fraction, or nats of a loss. NaN without rows."""
    return float((rows["predicted"] - rows["actual"]).abs().mean()) if len(rows) else float("nan")


def interval_held(rows: pd.DataFrame) -> float:
    """The share of held-out cells inside their 90 % prediction interval; NaN without rows."""
    return float(((rows["low"] <= rows["actual"]) & (rows["actual"] <= rows["high"])).mean()) if len(rows) else np.nan


def least_relative_error(errors: pd.DataFrame, cells: pd.DataFrame) -> str | None:
    """The method of least hold-out error over targets; None where none can be compared.

    errors: mean absolute hold-out error, a row a method, a column a target, NaN where there is none; cells: how many
    held-out predictions each is the mean of. Compared are the methods that predict on more than half of the targets, on
    those targets where all of them predict equally many cells. A target's errors count relative to the median method's
    on it, so that one on which all predict badly decides no more than another; without any error of the median method,
    relative to the least number.
    """
    able = errors.notna().mean(axis=1) > 0.5
    errors, cells = errors[able], cells[able]
    alike = errors.notna().all() & (cells.nunique() == 1)
    shared = errors.loc[:, alike]
    typical = shared.median().clip(lower=np.finfo(float).tiny)
    return None if shared.empty else str((shared / typical).mean(axis=1).idxmin())
