"""All that is fitted to one target: every source by every method, as one law file."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from ..records.laws import Comparison, ExponentByChoice, LawFile, LeftOut
from .calibrate import misses
from .compare import compare
from .fits import DRAWS, Fit, fit_runs
from .holdout import draws_for, mean_absolute_error, predict_runs, rolling_holdout
from .law_file import fit_record, number, plain_records, prediction_records
from .methods import METHODS, Method, find_method
from .planning import best_next_cells, optima
from .runs import Runs, UnfitPoints, select_runs, sources
from .sensitivity import sensitivity

PARTS = tuple(name for name, field in LawFile.model_fields.items() if not field.is_required())
COMPARE_BEYOND = (1.0, 10.0)  # Which source is better is said at the greatest common compute and ten times that.


def fit_target(
    table: pd.DataFrame,
    target: str,
    metric: str,
    methods: Sequence[str],
    scenarios: pd.DataFrame | None = None,
    leave_out: Sequence[str] = (),
    draws: int = DRAWS,
) -> LawFile:
    """The law file of one (target, metric).

    fits and predictions of each source by each method, with their rolling hold-out; comparisons of sources;
    the sensitivity of the exponent; the allocation of compute and what one more cell would buy; and for the models of
    `leave_out`, the predictions of every known method that was fitted without them. Points that carry no law of
    a method's form give a fit without numbers, whose verdict says why; a table that is not sound raises LawError.
    """
    chosen = [find_method(name) for name in methods]
    law = LawFile(target=target, metric=metric, fits=[], **{name: [] for name in PARTS})
    fits: list[Fit] = []
    for source in sources(table, target, metric):
        try:
            runs = select_runs(table, target, metric, source, drop_saturated=True)
        except UnfitPoints as reason:
            law.fits.extend(fit_record(_unfit(target, metric, source, method, reason)) for method in chosen)
            continue
        laws = 0
        for method in chosen:
            fit = _fit_or_say_why(runs, method, draws)
            fits.append(fit)
            laws += fit.is_law
            holdout = rolling_holdout(runs, method) if fit.theta is not None else pd.DataFrame()
            law.fits.append(fit_record(fit, holdout))
            law.predictions.extend(prediction_records(fit, runs, scenarios))
        law.sensitivity.extend(ExponentByChoice(source=source, **row) for row in sensitivity(runs))
        if laws:
            law.allocation.extend(optima(runs))
            law.next_cells.extend(best_next_cells(runs))
        law.leave_out.extend(leave_models_out(runs, leave_out) if leave_out else [])
    law.comparisons.extend(_comparisons(fits, table))
    return law


def leave_models_out(
    runs: Runs, models: Sequence[str], methods: Sequence[Method] = tuple(METHODS.values())
) -> list[LeftOut]:
    """What each method, fitted without these models, predicts for them; [] where there are none."""
    out = np.isin(runs.model.astype(str), list(models))
    rows: list[LeftOut] = []
    for method in methods if out.any() else ():
        kept = runs.take(~out)
        try:
            fit = fit_runs(kept, method, draws=draws_for(method), intervals=False)
        except UnfitPoints:
            continue
        holdout = rolling_holdout(kept, method)
        known: dict[str, Any] = {
            "source": runs.source,
            "method": method.name,
            "holdout_mae": number(mean_absolute_error(holdout)),
            "cells": len(holdout),
            "misses": [round(float(miss), 4) for miss in misses(holdout)],
        }
        rows += [LeftOut(**known, **row) for row in plain_records(predict_runs(fit, runs.take(out)))]
    return rows


def _comparisons(fits: Sequence[Fit], table: pd.DataFrame) -> list[Comparison]:
    rows = []
    for first, second in itertools.combinations(fits, 2):
        powers = all(fit.is_law and fit.method.form == "power" and fit.degrees > 0 for fit in (first, second))
        if first.method == second.method and powers:
            reach = min(fit.points_used["compute_gmacs"].max() for fit in (first, second))
            rows.append(compare(first, second, [reach * by for by in COMPARE_BEYOND], recipes=table))
    return rows


def _fit_or_say_why(runs: Runs, method: Method, draws: int) -> Fit:
    try:
        return fit_runs(runs, method, draws=draws)
    except UnfitPoints as reason:
        return replace(
            _unfit(runs.target, runs.metric, runs.source, method, reason),
            n_saturated=runs.n_saturated,
            n_diverged=runs.n_diverged,
        )


def _unfit(target: str, metric: str, source: str, method: Method, reason: UnfitPoints) -> Fit:
    return Fit(target, metric, source, method, n_points=0, verdict=f"no law: {reason}")
