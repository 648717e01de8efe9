"""What the cells that have not run are expected to measure, and which of them teach most for their cost.

The laws are those of clip_scaling.laws, fitted to the study's own table of metrics.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import ConfigError, LawError
from ..laws.design import next_cells
from ..laws.fits import Fit, fit_runs
from ..laws.planning import design_law_method
from ..laws.runs import Runs, UnfitPoints, select_runs
from ..records.frames import read_frame
from ..study.resolved import ResolvedStudy
from .table import Plan

FACTORS = {"compute": "compute_gmacs", "gmacs": "gmacs_per_sample", "samples": "samples_seen", "unique": "unique_pairs"}


def what_it_teaches(
    plan: Plan, study: ResolvedStudy, metrics: Path, goal: dict[str, Any]
) -> tuple[dict[str, Any] | None, str]:
    """Predicted error of each cell to do, and its worth for the goal; or None and the reason in words.

    goal: {"target", "metric"} (default: the suite's first), and one of {"parameter": exponent} (default alpha),
    {"at": factors of a prediction}, {"crossover": [a model, a model]}. The worth is the shrinkage of the goal's 95 %
    interval by this cell alone, a device-hour.
    """
    target, metric = goal.get("target"), goal.get("metric")
    for known_target, known_metric in study.targets():
        if target in (None, known_target) and metric in (None, known_metric):
            target, metric = known_target, known_metric
            break
    else:
        known = ", ".join(f"{name} {its_metric}" for name, its_metric in study.targets())
        raise ConfigError(f"goal: {target} {metric or ''} is no target of the study. It has {known}.")
    table = read_frame(metrics)
    try:
        runs = select_runs(table, str(target), str(metric), drop_saturated=True)
        method = design_law_method(runs)
        law = fit_runs(runs, method, draws=0, intervals=False)
        cells = _candidates(plan)
        ranked, name = _ranked(law, runs, cells, goal)
    except LawError as reason:
        # No plan may fail for a law that nobody asked for: a new set has no numbers, each distribution its own law.
        if isinstance(reason, UnfitPoints) or not any(goal.values()):
            return None, f"no prediction yet: {reason}"
        raise
    factors = {name: cells[FACTORS[name]].to_numpy(float) for name in method.law.factors}
    error, low, high = law.predict(0.9, **factors)
    predicted = dict(zip(cells["cell"], zip(error, low, high, strict=True), strict=True))
    rows = [
        {
            "cell": row["cell"],
            "predicted": float(predicted[row["cell"]][0]),
            "predicted_low": float(predicted[row["cell"]][1]),
            "predicted_high": float(predicted[row["cell"]][2]),
            "shrinkage": float(row["shrinkage"]),
            "shrinkage_per_hour": float(row["shrinkage_per_hour"]),
            "rank": rank,
        }
        for rank, row in enumerate(ranked.to_dict("records"), start=1)
    ]
    return {"target": target, "metric": metric, "method": method.name, "goal": name, "cells": rows}, ""


def _candidates(plan: Plan) -> pd.DataFrame:
    """The cells to do as laws want them; hours: of all devices."""
    return pd.DataFrame(
        {
            "cell": row.cell,
            "model": row.model,
            "gmacs_per_sample": row.gmacs_per_sample,
            "samples_seen": row.samples_seen,
            "unique_pairs": row.unique_pairs,
            "compute_gmacs": row.compute_gmacs,
            "hours": row.gpu_hours + row.cpu_hours,
        }
        for row in plan.to_do
    )


def _ranked(law: Fit, runs: Runs, cells: pd.DataFrame, goal: dict[str, Any]) -> tuple[pd.DataFrame, str]:
    """Candidates, the most worth an hour first, and the goal in words."""
    if goal.get("crossover"):
        ranked, name = _for_crossover(runs, cells, goal["crossover"]), "crossover of " + " and ".join(goal["crossover"])
    elif goal.get("at"):
        at = {name: float(value) for name, value in goal["at"].items()}
        missing = [name for name in law.method.law.factors if name not in at]
        if missing:
            raise ConfigError(f"goal: a prediction by {law.method.name} needs {', '.join(missing)}.")
        name = "prediction at " + ", ".join(f"{name} {value:.3g}" for name, value in at.items())
        ranked = next_cells(law, cells, at=at)
    else:
        parameter = goal.get("parameter") or "alpha"
        ranked, name = next_cells(law, cells, parameter=parameter), parameter
    ranked["shrinkage_per_hour"] = ranked["shrinkage"] / ranked["hours"]
    return ranked.sort_values("shrinkage_per_hour", ascending=False, ignore_index=True), name


def _for_crossover(runs: Runs, cells: pd.DataFrame, models: list[str]) -> pd.DataFrame:
    """Worth of each cell for the compute at which the power laws of two models meet.

    x = (a2 - a1) / (b1 - b2) in log10 compute; the variance of x follows from those of the two lines (delta method),
    before and after one more point on one of them. Cells of other models are worth nothing.
    """
    lines = {}
    for model in models:
        chosen = runs.model == model
        if chosen.sum() < 3:
            raise UnfitPoints(f"{model}: a crossover needs three finished cells of it, there are {int(chosen.sum())}")
        lines[model] = _Line(runs.log_compute[chosen], runs.log_error[chosen])
    first, second = (lines[model] for model in models)
    slope = first.theta[1] - second.theta[1]
    if not slope:
        raise UnfitPoints(f"{' and '.join(models)} have the same slope: they do not cross")
    at = -(first.theta[0] - second.theta[0]) / slope
    gradient = np.array([1.0, at]) / slope
    parts = {model: float(gradient @ line.covariance() @ gradient) for model, line in lines.items()}
    now = sum(parts.values())
    worth = []
    for row in cells.to_dict("records"):
        line = lines.get(row["model"])
        then = now
        if line is not None:
            more = float(gradient @ line.covariance(np.log10(row["compute_gmacs"])) @ gradient)
            then = now - parts[row["model"]] + more
        worth.append(1 - np.sqrt(then / now))
    return cells.assign(shrinkage=worth)


class _Line:
    """Least squares of y on (1, x)."""

    def __init__(self, x: np.ndarray, y: np.ndarray) -> None:
        self.design = np.column_stack([np.ones_like(x), x])
        if np.ptp(x) == 0:
            raise UnfitPoints("all cells of a model have the same compute: no line goes through them")
        self.theta = np.linalg.lstsq(self.design, y, rcond=None)[0]
        self.scatter = float(np.sum((y - self.design @ self.theta) ** 2)) / (len(x) - 2)

    def covariance(self, more: float | None = None) -> np.ndarray:
        """(2, 2) of theta, with one more point at x = more and the present scatter."""
        design = self.design if more is None else np.vstack([self.design, [1.0, more]])
        return self.scatter * np.linalg.inv(design.T @ design)
