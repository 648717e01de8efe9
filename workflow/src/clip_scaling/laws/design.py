"""What one more cell would buy: how much it narrows the interval of an exponent or of a prediction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..errors import LawError
from .fits import Fit
from .forms import LogLinear
from .holdout import budgets
from .identify import NOTHING_OPEN, unidentified
from .runs import Runs, UnfitPoints
from .student import t_reach


def next_cells(
    fit: Fit, candidates: pd.DataFrame, *, parameter: str | None = None, at: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Candidate cells, ranked by the shrinkage of a 95 % interval per unit of compute.

    fit: a law of all points (a chosen frontier moves with the new cell, and has no such formula).
    candidates: gmacs_per_sample, samples_seen, and unique_pairs where the form reads them.
    parameter: an exponent of the form, or `alpha` of a log-linear law; or at: the factors (compute, gmacs, samples,
    unique) of a prediction of ln E.
    Returns the candidates with compute_gmacs, half_width_now, half_width_then (in the parameter's units, or ln E),
    shrinkage (a fraction) and shrinkage_per_gmac, best first. `then` is the expected half-width with the present
    scatter: the covariance after one more row (Sherman-Morrison) and one more degree of freedom.
    """
    if fit.method.points != "all" or fit.theta is None or fit.covariance is None or fit.reference is None:
        raise LawError(f"{fit.method.name}: what a cell would buy is known for laws of all points, such as ols-all.")
    form, axis = fit.method.law, fit.method.axis
    direction = _direction(fit, parameter, at)
    rows = candidates.assign(compute_gmacs=candidates["gmacs_per_sample"] * candidates["samples_seen"])
    names = {
        "compute": "compute_gmacs",
        "gmacs": "gmacs_per_sample",
        "samples": "samples_seen",
        "unique": "unique_pairs",
    }
    absent = [names[factor] for factor in form.factors if names[factor] not in rows]
    if absent:
        raise LawError(f"candidates: {fit.method.name} reads {', '.join(absent)}, which they lack")
    columns = fit.reference.columns(**{factor: rows[names[factor]].to_numpy(float) for factor in form.factors})
    log_error, jacobian = form.with_jacobian(fit.theta, columns)
    gradient = axis.slope(log_error)[:, None] * jacobian
    now = float(direction @ fit.covariance @ direction)
    gain = (gradient @ fit.covariance @ direction) ** 2
    spread = np.einsum("np,pq,nq->n", gradient, fit.covariance, gradient) + fit.scatter**2
    then = np.sqrt(now - gain / spread) * t_reach(0.95, fit.degrees + 1)
    width = np.sqrt(now) * t_reach(0.95, fit.degrees)
    rows = rows.assign(half_width_now=width, half_width_then=then, shrinkage=1 - then / width)
    rows["shrinkage_per_gmac"] = rows["shrinkage"] / rows["compute_gmacs"]
    return rows.sort_values("shrinkage_per_gmac", ascending=False, ignore_index=True)


def candidate_cells(runs: Runs) -> pd.DataFrame:
    """Cells that the grid does not have: its models, budgets and data crossed, with one more step up of each.

    model, data ("" for a step up), gmacs_per_sample, samples_seen, unique_pairs. The step repeats the ratio of the
    greatest two. UnfitPoints where the table does not say the models' GMACs, the samples or the unique pairs.
    """
    for name, values in (("gmacs_per_sample", runs.gmacs), ("samples_seen", runs.samples)):
        if not (np.isfinite(values) & (values > 0)).all():
            raise UnfitPoints(f"{runs.target} {runs.metric}: candidates need {name} of every run. Add the column.")
    seen = pd.Series(runs.samples).groupby(budgets(runs.samples)).median().to_numpy()
    models = {float(f"{size:.4g}"): model for size, model in zip(runs.gmacs, runs.model, strict=True)}
    data = dict(zip(runs.unique, runs.data, strict=True)) if np.isfinite(runs.unique).all() else {np.nan: ""}
    measured = set(zip(runs.model, runs.data, budgets(runs.samples), strict=True))
    rows = [
        {"model": model, "data": pool, "gmacs_per_sample": size, "samples_seen": samples, "unique_pairs": unique}
        for size, model in {**models, _next_step(np.array(list(models))): ""}.items()
        for budget, samples in enumerate([*seen, _next_step(seen)])
        for unique, pool in data.items()
        if (model, pool, budget) not in measured
    ]
    return pd.DataFrame(rows).sort_values(["gmacs_per_sample", "samples_seen", "unique_pairs"], ignore_index=True)


def _next_step(values: np.ndarray) -> float:
    """One more of a growing series, to two digits; twice the value where there is only one."""
    ordered = np.sort(values)
    ratio = ordered[-1] / ordered[-2] if len(ordered) > 1 else 2.0
    return float(f"{ordered[-1] * ratio:.2g}")


def _direction(fit: Fit, parameter: str | None, at: Mapping[str, float] | None) -> np.ndarray:
    form = fit.method.law
    assert fit.reference is not None and fit.theta is not None
    if (parameter is None) == (at is None):
        raise LawError("name either a parameter or the place of a prediction.")
    if at is not None:
        missing = [factor for factor in form.factors if factor not in at]
        if missing:
            raise LawError(
                f"{fit.method.name} predicts by {', '.join(form.factors)}, and {', '.join(missing)} is not given",
                remedy=f"Add {' '.join(f'{factor}=VALUE' for factor in missing)}, or choose another --method.",
            )
        columns = fit.reference.columns(**{factor: np.array([float(at[factor])]) for factor in form.factors})
        return form.with_jacobian(fit.theta, columns)[1][0]
    total = form.total_exponent if isinstance(form, LogLinear) else None
    if parameter == "alpha" and total is not None:
        return total
    exponents = [name for name in form.parameters if name.startswith("alpha")]
    if parameter not in exponents:
        raise LawError(f"parameter: {parameter!r} is no exponent of {form.name}. It has {', '.join(exponents)}.")
    design = NOTHING_OPEN if isinstance(form, LogLinear) or fit.used is None else unidentified(fit.used, form)
    if parameter in design.parameters:
        raise LawError(
            f"parameter: the runs do not identify {design}",
            remedy="Rank cells by --method ols-all, or vary the factor.",
        )
    return np.eye(len(form.parameters))[form.parameters.index(parameter)]
