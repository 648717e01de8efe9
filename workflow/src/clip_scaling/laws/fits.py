"""Fit one method to the runs of one target: parameters, intervals, a verdict, and predictions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from .estimators import least_squares
from .forms import LogLinear, Reference
from .methods import Method, find_method
from .points import Selection
from .table import Runs, UnfitPoints, select_runs

FLAT_EXPONENT = -0.01  # Of all runs: above it a task is flat or rises, and no method's slope is a law.


@dataclass(frozen=True)
class Fit:
    """One law. alpha, beta, floor are None where the data cannot support them; `verdict` says why.

    parameters: the law's own (E a fraction or nats, compute in GMAC), with `intervals` at 95 %.
    theta, covariance, degrees, deviation: for predictions; deviation is the residuals' standard deviation in ln E.
    """

    target: str
    metric: str
    source: str
    method: Method
    n_points: int
    verdict: str
    parameters: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)
    r2: float | None = None
    points_used: pd.DataFrame = field(default_factory=pd.DataFrame)
    reference: Reference | None = None
    theta: np.ndarray | None = None
    covariance: np.ndarray | None = None
    degrees: int = 0
    deviation: float = float("nan")
    optimiser: dict[str, Any] = field(default_factory=dict)

    @property
    def is_law(self) -> bool:
        return self.verdict.startswith("law")

    @property
    def alpha(self) -> float | None:
        """Signed exponent of compute in E = beta C^alpha."""
        return self.parameters.get("alpha") if self.is_law else None

    @property
    def beta(self) -> float | None:
        """Prefactor in E = beta C^alpha, C in GMAC."""
        return self.parameters.get("beta") if self.alpha is not None else None

    @property
    def floor(self) -> float | None:
        """Irreducible error, where the form has one and the data identify it."""
        return self.parameters.get("floor") if self.is_law else None

    def predict(
        self, level: float = 0.9, *, new_run: bool = True, **factors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicted error, low and high at these factors (compute in GMAC; gmacs, samples, unique), each (m,).

        new_run True: the interval for one more run (its scatter included); False: the band of the law itself.
        Low and high are NaN where no degree of freedom is left.
        """
        assert self.reference is not None and self.theta is not None and self.covariance is not None
        columns = self.reference.columns(**{k: np.asarray(v, dtype=float) for k, v in factors.items()})
        log_error = self.method.law.log_error(self.theta, columns)
        jacobian = self.method.law.jacobian(self.theta, columns)
        variance = np.einsum("np,pq,nq->n", jacobian, self.covariance, jacobian)
        spread = self.deviation * np.sqrt(variance + new_run)
        reach = stats.t.ppf((1 + level) / 2, self.degrees) * spread if self.degrees > 0 else np.nan * spread
        return np.exp(log_error), np.exp(log_error - reach), np.exp(log_error + reach)


def fit(
    table: pd.DataFrame, *, target: str, metric: str, method: str = "binned-min-5", source: str | None = None
) -> Fit:
    """Fit a law to one target of a tidy table.

    table: columns of docs/design.md (`cell, compute_gmacs, dataset, metric, value`, and for forms in several factors
    `gmacs_per_sample, samples_seen, unique_pairs`). method: see `methods.METHODS`.
    Raises LawError where the table is not sound, UnfitPoints where its points carry no law of this form.
    """
    return fit_runs(select_runs(table, target, metric, source), find_method(method))


def fit_runs(runs: Runs, method: Method) -> Fit:
    """The same on runs that were already selected."""
    chosen, used = choose_points(runs, method)
    reference = Reference.of(used, method.law.factors)
    columns = reference.columns_of(used)
    log_error = np.log(used.error)
    form = method.law
    assert isinstance(form, LogLinear)
    design = form.design(columns)
    if np.linalg.matrix_rank(design) < design.shape[-1]:
        raise UnfitPoints(
            f"{runs.target} {runs.metric}: {len(used)} points do not tell {', '.join(form.factors)} apart. "
            "Add runs that vary each of them on its own, or choose a method on compute alone."
        )
    theta, covariance = least_squares(design, log_error, np.ones(len(used)))
    residuals = log_error - form.log_error(theta, columns)
    degrees = len(used) - len(theta)
    deviation = float(np.sqrt(residuals @ residuals / degrees)) if degrees > 0 else float("nan")
    spread = log_error - log_error.mean()
    parameters = {name: float(value) for name, value in form.natural(theta, reference).items()}
    intervals = _t_intervals(form, theta, covariance, deviation, degrees)
    return Fit(
        runs.target,
        runs.metric,
        runs.source,
        method,
        n_points=len(used),
        verdict=judge(runs, parameters, intervals, len(used)),
        parameters=parameters,
        intervals=intervals,
        r2=float(1 - residuals @ residuals / (spread @ spread)) if spread @ spread > 0 else None,
        points_used=pd.DataFrame({"cell": used.cell, "compute_gmacs": used.compute, "error": used.error}),
        reference=reference,
        theta=theta,
        covariance=covariance,
        degrees=degrees,
        deviation=deviation,
    )


def choose_points(runs: Runs, method: Method) -> tuple[Selection, Runs]:
    """The method's points, each at the compute where it stands. UnfitPoints where no line goes through them."""
    place = f"{runs.target} {runs.metric}" + (f" ({runs.source})" if runs.source else "")
    if len(runs) < 2:
        raise UnfitPoints(f"{place}: {len(runs)} point. A law needs at least two runs; add cells to the grid.")
    if np.ptp(runs.log_compute) == 0:
        raise UnfitPoints(f"{place}: all {len(runs)} runs have the same compute. Add runs at another compute.")
    if np.ptp(runs.log_error) == 0:
        raise UnfitPoints(f"{place}: all {len(runs)} runs have the same error. There is no slope to measure.")
    chosen = method.choose(runs.log_compute, runs.log_error)
    used = replace(runs.take(chosen.index[chosen.used]), compute=10 ** chosen.log_compute[chosen.used])
    need = len(method.law.parameters) + 1
    if len(used) < need:
        raise UnfitPoints(
            f"{place}: {method.name} finds {len(used)} points among {len(runs)} runs and its form needs {need}. "
            "Add cells to the grid, or fit ols-all."
        )
    return chosen, used


def judge(runs: Runs, parameters: dict[str, float], intervals: dict[str, tuple[float, float]], n_points: int) -> str:
    """The verdict: `law`, `law, not significant: ...` or `no law: ...`."""
    slope = stats.linregress(runs.log_compute, runs.log_error).slope
    if slope > 0:
        return f"no law: over all {len(runs)} runs the error does not fall with compute (exponent {slope:+.4f})"
    if slope > FLAT_EXPONENT:
        return f"no law: flat, over all {len(runs)} runs the exponent is {slope:+.4f}, within {-FLAT_EXPONENT} of zero"
    alpha = parameters.get("alpha")
    if alpha is None:
        return "law"
    if alpha > FLAT_EXPONENT:
        return f"no law: the exponent of the {n_points} chosen points is {alpha:+.4f}"
    low, high = intervals.get("alpha", (-np.inf, np.inf))
    if low <= 0 <= high:
        return f"law, not significant: {n_points} points, and the 95 % interval of the exponent includes 0"
    return "law"


def _t_intervals(
    form: LogLinear, theta: np.ndarray, covariance: np.ndarray, deviation: float, degrees: int
) -> dict[str, tuple[float, float]]:
    """95 % Student intervals of the exponents; none where no degree of freedom is left."""
    if degrees < 1:
        return {}
    reach = stats.t.ppf(0.975, degrees) * deviation * np.sqrt(np.diag(covariance))
    return {
        name: (float(theta[i] - reach[i]), float(theta[i] + reach[i]))
        for i, name in enumerate(form.parameters)
        if name != "beta"
    }
