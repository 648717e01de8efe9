"""All laws of one target: every source with every method, as one law file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from .fits import Fit, fit_runs
from .methods import Method, find_method
from .records import fit_record, prediction_records
from .table import Runs, UnfitPoints, select_runs, sources


def fit_target(
    table: pd.DataFrame,
    target: str,
    metric: str,
    methods: Sequence[str],
    scenarios: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """The law file of one (target, metric): fits and predictions of each source by each method.

    Points that carry no law of a method's form give a fit without numbers, whose verdict says why; a table that is
    not sound raises LawError.
    """
    chosen = [find_method(name) for name in methods]
    fits: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for source in sources(table, target, metric) or [None]:
        try:
            runs = select_runs(table, target, metric, source)
        except UnfitPoints as reason:
            fits += [fit_record(_unfit(target, metric, source or "", method, reason)) for method in chosen]
            continue
        for method in chosen:
            law = _fit_or_say_why(runs, method)
            fits.append(fit_record(law))
            predictions += prediction_records(law, runs, scenarios)
    return {"target": target, "metric": metric, "fits": fits, "predictions": predictions}


def _fit_or_say_why(runs: Runs, method: Method) -> Fit:
    try:
        return fit_runs(runs, method)
    except UnfitPoints as reason:
        return _unfit(runs.target, runs.metric, runs.source, method, reason)


def _unfit(target: str, metric: str, source: str, method: Method, reason: UnfitPoints) -> Fit:
    return Fit(target, metric, source, method, n_points=0, verdict=f"no law: {reason}")
