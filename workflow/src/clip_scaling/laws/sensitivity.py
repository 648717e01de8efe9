"""The exponent of compute over all defensible choices: points, scale, estimator, and one model or data set left out."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np

from ..records.metrics import is_loss
from .fits import fit_runs
from .methods import ESTIMATORS, POINTS, Method
from .runs import Runs, UnfitPoints

COLUMNS = ("left_out", "points", "scale", "estimator", "n_points", "alpha")


def sensitivity(runs: Runs) -> list[dict[str, Any]]:
    """One row a choice (COLUMNS), of power laws of compute; choices whose points carry no law give no row."""
    scales = ("log",) if is_loss(runs.metric) else ("log", "logit")
    rows = []
    for points, scale, estimator in itertools.product(POINTS, scales, ESTIMATORS):
        rows += _row(runs, "", points, scale, estimator)
    for names, label in ((runs.model, "model"), (runs.data, "data")):
        for name in dict.fromkeys(names):
            kept = runs.take(names != name)
            for points in POINTS if len(set(names)) > 1 else ():
                rows += _row(kept, f"{label} {name}", points, "log", "ols")
    return rows


def _row(runs: Runs, left_out: str, points: str, scale: str, estimator: str) -> list[dict[str, Any]]:
    try:
        law = fit_runs(runs, Method("", points, "power", scale, estimator), draws=0, intervals=False)
    except UnfitPoints:
        return []
    assert law.theta is not None
    return [dict(zip(COLUMNS, (left_out, points, scale, estimator, law.n_points, float(law.theta[1])), strict=True))]


def exponent_range(rows: list[dict[str, Any]]) -> tuple[float, float]:
    """Least and greatest exponent over the choices."""
    alphas = [row["alpha"] for row in rows]
    return float(np.min(alphas)), float(np.max(alphas))
