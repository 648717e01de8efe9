"""Law files and the tables gathered from them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .fits import Fit
from .forms import FACTORS
from .table import Runs, from_error

LAW_COLUMNS = (
    "target metric source method form n_points alpha alpha_low alpha_high beta floor r2 holdout_mae_pp verdict"
).split()
PREDICTION_COLUMNS = (
    "target metric source method model samples_seen data compute_gmacs predicted low high actual"
).split()
BUDGET_TOLERANCE = 1.1  # Samples seen within 10 % are one budget: the paper's "34B" is 32.0B to 34.7B.


def fit_record(fit: Fit) -> dict[str, Any]:
    """A fit as the law file holds it; null where the data support no number."""
    low, high = fit.intervals.get("alpha", (None, None)) if fit.is_law else (None, None)
    return {
        "source": fit.source,
        "method": fit.method.name,
        "points": fit.method.points,
        "form": fit.method.form,
        "scale": fit.method.scale,
        "estimator": fit.method.estimator,
        "n_points": fit.n_points,
        "alpha": _number(fit.alpha),
        "alpha_low": _number(low),
        "alpha_high": _number(high),
        "beta": _number(fit.beta),
        "floor": _number(fit.floor),
        "r2": _number(fit.r2),
        "holdout_mae_pp": None,
        "verdict": fit.verdict,
        "parameters": {name: _number(value) for name, value in fit.parameters.items()},
        "intervals": {name: [_number(a), _number(b)] for name, (a, b) in fit.intervals.items()},
        "points_used": fit.points_used.to_dict("records"),
        "curve": curve(fit),
        "optimiser": fit.optimiser,
        "holdout": [],
    }


def curve(fit: Fit, places: int = 60, beyond: float = 4.0) -> list[dict[str, float | None]]:
    """The law over its points' compute and `beyond` times more, with its 95 % band; empty for several factors."""
    if not fit.is_law or fit.method.law.factors != ("compute",):
        return []
    fitted = fit.points_used["compute_gmacs"]
    compute = np.geomspace(fitted.min(), beyond * fitted.max(), places)
    error, low, high = fit.predict(0.95, new_run=False, compute=compute)
    return [
        {"compute_gmacs": float(c), "error": float(e), "low": _number(a), "high": _number(b)}
        for c, e, a, b in zip(compute, error, low, high, strict=True)
    ]


def prediction_records(fit: Fit, runs: Runs, scenarios: pd.DataFrame | None = None) -> list[dict[str, Any]]:
    """What a law predicts, with its 90 % interval, for every run and for scenarios without one.

    scenarios: columns model, data, gmacs_per_sample, samples_seen, unique_pairs. `actual` of a scenario is that of a
    run of the same model, data and budget where there is one.
    """
    if not fit.is_law:
        return []
    rows = pd.DataFrame(
        {
            "model": runs.model,
            "data": runs.data,
            "gmacs": runs.gmacs,
            "samples": runs.samples,
            "unique": runs.unique,
            "compute": runs.compute,
            "actual": from_error(runs.metric, runs.error),
        }
    )
    if scenarios is not None:
        names = {"gmacs_per_sample": "gmacs", "samples_seen": "samples", "unique_pairs": "unique"}
        extra = scenarios.rename(columns=names)[["model", "data", "gmacs", "samples", "unique"]]
        extra = extra.assign(compute=extra["gmacs"] * extra["samples"])
        extra["actual"] = [_measured(rows, row) for row in extra.itertuples()]
        rows = pd.concat([rows, extra], ignore_index=True)
    predicted = fit.predict(0.9, **{name: rows[name].to_numpy(float) for name in FACTORS if name in fit.reference.logs})
    bounds = [from_error(fit.metric, error) for error in predicted]
    low, high = np.minimum(bounds[1], bounds[2]), np.maximum(bounds[1], bounds[2])
    return [
        {
            "source": fit.source,
            "method": fit.method.name,
            "model": row.model,
            "samples_seen": _number(row.samples),
            "data": row.data,
            "compute_gmacs": row.compute,
            "predicted": float(bounds[0][i]),
            "low": _number(low[i]),
            "high": _number(high[i]),
            "actual": _number(row.actual),
        }
        for i, row in enumerate(rows.itertuples())
    ]


def _measured(rows: pd.DataFrame, scenario: Any) -> float:
    ratio = rows["samples"] / scenario.samples
    same = (rows["model"] == scenario.model) & (rows["data"] == scenario.data)
    same &= (ratio < BUDGET_TOLERANCE) & (ratio > 1 / BUDGET_TOLERANCE)
    return float(rows.loc[same, "actual"].iloc[0]) if same.any() else math.nan


def laws_table(laws: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row a (target, metric, source, method) of these law files."""
    rows = [{**fit, "target": law["target"], "metric": law["metric"]} for law in laws for fit in law["fits"]]
    return pd.DataFrame(rows, columns=LAW_COLUMNS)


def predictions_table(laws: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """One row a prediction of these law files."""
    rows = [{**row, "target": law["target"], "metric": law["metric"]} for law in laws for row in law["predictions"]]
    return pd.DataFrame(rows, columns=PREDICTION_COLUMNS)


def _number(value: float | None) -> float | None:
    return float(value) if value is not None and math.isfinite(value) else None
