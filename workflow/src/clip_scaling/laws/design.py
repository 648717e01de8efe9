"""What one more cell would buy: how much it narrows the interval of an exponent or of a prediction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..errors import LawError
from .fits import Fit
from .student import t_reach


def next_cells(
    fit: Fit, candidates: pd.DataFrame, *, parameter: str | None = None, at: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Candidate cells, ranked by the shrinkage of a 95 % interval per unit of compute.

    fit: a law of all points (a chosen frontier moves with the new cell, and has no such formula).
    candidates: gmacs_per_sample, samples_seen, and unique_pairs where the form reads them.
    parameter: an exponent of the form; or at: the factors (compute, gmacs, samples, unique) of a prediction of ln E.
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
    columns = fit.reference.columns(**{factor: rows[names[factor]].to_numpy(float) for factor in form.factors})
    log_error = form.log_error(fit.theta, columns)
    gradient = axis.slope(log_error)[:, None] * form.jacobian(fit.theta, columns)
    now = float(direction @ fit.covariance @ direction)
    gain = (gradient @ fit.covariance @ direction) ** 2
    spread = np.einsum("np,pq,nq->n", gradient, fit.covariance, gradient) + fit.scatter**2
    then = np.sqrt(now - gain / spread) * t_reach(0.95, fit.degrees + 1)
    width = np.sqrt(now) * t_reach(0.95, fit.degrees)
    rows = rows.assign(half_width_now=width, half_width_then=then, shrinkage=1 - then / width)
    rows["shrinkage_per_gmac"] = rows["shrinkage"] / rows["compute_gmacs"]
    return rows.sort_values("shrinkage_per_gmac", ascending=False, ignore_index=True)


def _direction(fit: Fit, parameter: str | None, at: Mapping[str, float] | None) -> np.ndarray:
    form = fit.method.law
    assert fit.reference is not None and fit.theta is not None
    if (parameter is None) == (at is None):
        raise LawError("name either a parameter or the place of a prediction.")
    if at is not None:
        columns = fit.reference.columns(**{factor: np.array([float(at[factor])]) for factor in form.factors})
        return form.jacobian(fit.theta, columns)[0]
    exponents = [name for name in form.parameters if name.startswith("alpha")]
    if parameter not in exponents:
        raise LawError(f"parameter: {parameter!r} is no exponent of {form.name}. It has {', '.join(exponents)}.")
    return np.eye(len(form.parameters))[form.parameters.index(parameter)]
