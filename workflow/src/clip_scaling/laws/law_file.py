"""A fit, its curve and its predictions as a law file holds them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from ..records.laws import CurvePoint, FittedLaw, HeldOut, PointUsed, Prediction, Verdict
from ..records.metrics import from_error, is_loss
from .fits import Fit
from .forms import FACTORS
from .holdout import BUDGET_RATIO, interval_held, mean_absolute_error
from .runs import Runs


def fit_record(fit: Fit, holdout: pd.DataFrame | None = None) -> FittedLaw:
    """A fit as the law file holds it; null where the data support no number.

    holdout: rows of `rolling_holdout`.
    """
    holdout = pd.DataFrame() if holdout is None or not fit.is_law else holdout
    low, high = fit.intervals.get("alpha", (None, None)) if fit.is_law else (None, None)
    return FittedLaw(
        source=fit.source,
        method=fit.method.name,
        points=fit.method.points,
        form=fit.method.form,
        scale=fit.method.scale,
        estimator=fit.method.estimator,
        n_points=fit.n_points,
        alpha=number(fit.alpha),
        alpha_low=number(low),
        alpha_high=number(high),
        beta=number(fit.beta),
        floor=number(fit.floor),
        r2=number(fit.r2),
        holdout_mae=number(mean_absolute_error(holdout)),
        holdout_mae_pp=None if is_loss(fit.metric) else number(100 * mean_absolute_error(holdout)),
        holdout_interval_held=number(interval_held(holdout)),
        verdict=Verdict.parse(fit.verdict),
        parameters={name: number(value) for name, value in fit.parameters.items()},
        intervals={name: (number(a), number(b)) for name, (a, b) in fit.intervals.items()},
        points_used=[PointUsed(**row) for row in fit.points_used.to_dict("records")],
        curve=curve(fit),
        optimiser=fit.optimiser,
        holdout=[HeldOut(**row) for row in plain_records(holdout)],
        interval=fit.interval,
        n_saturated=fit.n_saturated,
        n_diverged=fit.n_diverged,
    )


def curve(fit: Fit, places: int = 60, beyond: float = 4.0) -> list[CurvePoint]:
    """The law over its points' compute and `beyond` times more, with its 95 % band; empty for several factors."""
    if not fit.is_law or fit.method.law.factors != ("compute",):
        return []
    fitted = fit.points_used["compute_gmacs"]
    compute = np.geomspace(fitted.min(), beyond * fitted.max(), places)
    error, low, high = fit.predict(0.95, new_run=False, compute=compute)
    return [
        CurvePoint(compute_gmacs=float(c), error=float(e), low=number(a), high=number(b))
        for c, e, a, b in zip(compute, error, low, high, strict=True)
    ]


def prediction_records(fit: Fit, runs: Runs, scenarios: pd.DataFrame | None = None) -> list[Prediction]:
    """What a law predicts, with its 90 % interval, for every run and for scenarios without one.

    scenarios: columns model, data, gmacs_per_sample, samples_seen, unique_pairs (, source). `actual` of a
    scenario is that of a run of the same model, data and budget where there is one.
    """
    if not fit.is_law:
        return []
    assert fit.reference is not None
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
        mine = scenarios[scenarios["source"] == fit.source] if "source" in scenarios else scenarios
        extra = mine.rename(columns=names)[["model", "data", "gmacs", "samples", "unique"]]
        extra = extra.assign(compute=extra["gmacs"] * extra["samples"])
        extra["actual"] = [_measured(runs, rows["actual"].to_numpy(), row) for row in extra.itertuples()]
        rows = pd.concat([rows, extra], ignore_index=True)
    predicted = fit.predict(0.9, **{name: rows[name].to_numpy(float) for name in FACTORS if name in fit.reference.logs})
    bounds = [from_error(fit.metric, error) for error in predicted]
    low, high = np.minimum(bounds[1], bounds[2]), np.maximum(bounds[1], bounds[2])
    return [
        Prediction(
            source=fit.source,
            method=fit.method.name,
            model=row.model,
            samples_seen=number(row.samples),
            data=row.data,
            compute_gmacs=row.compute,
            predicted=float(bounds[0][i]),
            low=number(low[i]),
            high=number(high[i]),
            actual=number(row.actual),
        )
        for i, row in enumerate(rows.itertuples())
    ]


def _measured(runs: Runs, actual: np.ndarray, scenario: Any) -> float:
    """The measurement of the run of the same model, data and budget; NaN where there is none."""
    ratio = runs.samples / scenario.samples
    same = (runs.model == scenario.model) & (runs.data == scenario.data)
    same &= (ratio < BUDGET_RATIO) & (ratio > 1 / BUDGET_RATIO)
    return float(actual[same.argmax()]) if same.any() else math.nan


def plain_records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as dictionaries that JSON can hold: NaN becomes null."""
    return [
        {name: number(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in rows.to_dict("records")
    ]


def number(value: float | None) -> float | None:
    """A finite number as it is; None for NaN and infinities, which JSON cannot hold."""
    return float(value) if value is not None and math.isfinite(value) else None
