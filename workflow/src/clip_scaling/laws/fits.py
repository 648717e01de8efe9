"""Fit one method to the runs of one target: parameters, intervals, a verdict, and predictions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import optimize

from .estimators import Points, Solution, least_squares, sum_huber
from .forms import LogLinear, Reference
from .identify import NOTHING_OPEN, unidentified
from .intervals import Spread, draws_bias, intervals_of, redraw, refit, t_interval
from .methods import Method, find_method
from .redraw import Redraws
from .runs import Runs, UnfitPoints, select_runs
from .student import t_reach
from .verdicts import judge

DRAWS = 1000
FEWEST_FOR_BOOTSTRAP = 10  # Fewer runs leave no scatter to redraw; Student's t is wider, and honest.


@dataclass(frozen=True)
class Fit:
    """One law. alpha, beta, floor are None where the data cannot support them; `verdict` says why.

    parameters: the law's own (E a fraction or nats, compute in GMAC), with `intervals` at 95 %.
    theta, covariance (p, p), scatter and degrees of freedom are for predictions; scatter is a run's standard deviation
    about the law on the scale's axis. interval: t, profile or bootstrap. draws (b, p): theta of each bootstrap draw.
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
    used: Runs | None = None
    reference: Reference | None = None
    theta: np.ndarray | None = None
    covariance: np.ndarray | None = None
    degrees: int = 0
    scatter: float = float("nan")
    interval: str = ""
    draws: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    optimiser: dict[str, Any] = field(default_factory=dict)
    n_saturated: int = 0
    n_diverged: int = 0

    @property
    def points_used(self) -> pd.DataFrame:
        """cell, compute_gmacs (where the method puts it) and error of the points fitted."""
        if self.used is None:
            return pd.DataFrame(columns=["cell", "compute_gmacs", "error"])
        return pd.DataFrame({"cell": self.used.cell, "compute_gmacs": self.used.compute, "error": self.used.error})

    @property
    def is_law(self) -> bool:
        return self.verdict.startswith("law")

    @property
    def alpha(self) -> float | None:
        """Signed exponent of compute in E = beta C^alpha; of a log-linear law, with model and samples scaled alike."""
        return self.parameters.get("alpha") if self.is_law else None

    @property
    def beta(self) -> float | None:
        """Prefactor in E = beta C^alpha, C in GMAC; None where the law is not of compute alone."""
        return self.parameters.get("beta") if self.is_law and self.method.law.factors == ("compute",) else None

    @property
    def floor(self) -> float | None:
        """Irreducible error, where the form has one and the data identify it."""
        return self.parameters.get("floor") if self.is_law else None

    def predict(
        self, level: float = 0.9, *, new_run: bool = True, **factors: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Predicted error, low and high at these factors (compute in GMAC; gmacs, samples, unique), each (m,).

        new_run True: the interval for one more run (its scatter included); False: the band of the law itself.
        """
        assert self.reference is not None and self.theta is not None and self.covariance is not None
        form, scale = self.method.law, self.method.axis
        columns = self.reference.columns(**{k: np.asarray(v, dtype=float) for k, v in factors.items()})
        log_error, jacobian = form.with_jacobian(self.theta, columns)
        gradient = scale.slope(log_error)[:, None] * jacobian
        variance = np.einsum("np,pq,nq->n", gradient, self.covariance, gradient) + new_run * self.scatter**2
        reach = t_reach(level, self.degrees) * np.sqrt(np.maximum(variance, 0.0))
        middle = scale.value(log_error)
        return np.exp(log_error), scale.error(middle - reach), scale.error(middle + reach)


def fit(
    table: pd.DataFrame,
    *,
    target: str,
    metric: str,
    method: str = "binned-min-5",
    source: str | None = None,
    drop_saturated: bool = False,
) -> Fit:
    """Fit a law to one target of a tidy table.

    table: columns of docs/design.md (`cell, compute_gmacs, dataset, metric, value`, and for forms in several factors
    `gmacs_per_sample, samples_seen, unique_pairs`). method: see `methods.METHODS`.
    drop_saturated: see `select_runs`.
    Raises LawError where the table is not sound, UnfitPoints where its points carry no law of this form.
    """
    return fit_runs(select_runs(table, target, metric, source, drop_saturated=drop_saturated), find_method(method))


def fit_runs(runs: Runs, method: Method, *, draws: int = DRAWS, seed: int = 0, intervals: bool = True) -> Fit:
    """The same on runs that were already selected.

    draws: of the bootstrap, where the method's intervals need one. intervals False: predictions only, and faster;
    with draws=0 also without a bootstrap, by the information matrix.
    """
    prepared, variance = method.axis.prepare(runs)
    used, variance_used = choose_points(prepared, variance, method)
    form, scale = method.law, method.axis
    reference = Reference.of(used, form.factors)
    columns = reference.columns_of(used)
    points = Points(columns, np.log(used.error), np.ones(len(used)))
    solution, points, extra = _solve(method, points, variance_used)
    theta, degrees = solution.theta, len(used) - len(form.parameters)
    residuals = scale.value(points.log_error) - scale.value(form.log_error(theta, columns))
    squares = float(points.weights @ residuals**2)
    unit = squares / degrees if not variance.any() else 1.0
    spread = Spread(
        squares=squares,
        covariance=unit * _inverse_information(method, points, theta),
        degrees=degrees,
        scatter=float(np.sqrt(unit if not variance.any() else extra + np.median(variance_used))),
        sample=np.empty((0, len(theta))),
        bias=np.zeros(len(theta)),
    )
    design = unidentified(used, form) if intervals and not isinstance(form, LogLinear) else NOTHING_OPEN
    # Where the design leaves parameters open, every draw ends where its search began.
    plain = len(prepared) < FEWEST_FOR_BOOTSTRAP or bool(design)
    interval = method.interval_of_all if plain else method.interval
    if interval == "bootstrap" and draws:
        weights = np.ones(len(prepared)) if not variance.any() else 1 / (variance + extra)
        redraws = redraw(prepared, method, reference, theta, weights, draws, np.random.default_rng(seed))
        spread = _redrawn(spread, redraws, prepared, weights, method, reference, theta)
    parameters = {name: float(value) for name, value in form.natural(theta, reference).items()}
    found = intervals_of(interval, method, points, solution, spread, reference) if intervals else {}
    if isinstance(form, LogLinear) and (total := form.total_exponent) is not None:
        parameters["alpha"] = float(total @ theta)
        if intervals:
            error = float(np.sqrt(total @ spread.covariance @ total))
            found["alpha"] = t_interval(parameters["alpha"], error, spread.degrees)
    verdict, unknown = judge(runs, parameters, found, len(used), design)
    unknown += [f"beta_{name.removeprefix('alpha_')}" for name in unknown if name.startswith("alpha_")]
    return Fit(
        runs.target,
        runs.metric,
        runs.source,
        method,
        n_points=len(used),
        verdict=verdict,
        parameters={name: value for name, value in parameters.items() if name not in unknown},
        intervals={name: ends for name, ends in found.items() if name not in unknown},
        r2=_explained(scale.value(points.log_error), points.weights, squares),
        used=used,
        reference=reference,
        theta=theta,
        covariance=spread.covariance,
        degrees=spread.degrees,
        scatter=spread.scatter,
        interval=interval,
        draws=spread.sample,
        optimiser=dict(solution.report),
        n_saturated=runs.n_saturated,
        n_diverged=runs.n_diverged,
    )


def _explained(values: np.ndarray, weights: np.ndarray, squares: float) -> float | None:
    """Share of the weighted squares around the mean that the law explains; None where all values are one."""
    all_squares = float(weights @ (values - np.average(values, weights=weights)) ** 2)
    return 1 - squares / all_squares if all_squares > 0 else None


def _redrawn(
    spread: Spread,
    redraws: Redraws,
    prepared: Runs,
    weights: np.ndarray,
    method: Method,
    reference: Reference,
    theta: np.ndarray,
) -> Spread:
    """The spread as redrawn grids show it. The reference is the fit's, so that draws and theta mean the same."""
    sample = refit(prepared, redraws.values, weights, method, reference, theta)
    spread = replace(spread, sample=sample)
    if len(sample) <= 1:
        return spread
    bias = draws_bias(sample, redraws, prepared, weights, method, reference, theta)
    spread = replace(spread, covariance=np.atleast_2d(np.cov(sample, rowvar=False)), bias=bias)
    if method.points == "all":
        return spread
    # The chosen points alone know little of the scatter: the whole grid knows it.
    scatter = max(spread.scatter, redraws.deviation / float(np.sqrt(np.median(weights))))
    return replace(spread, degrees=max(spread.degrees, int(redraws.degrees)), scatter=scatter)


def choose_points(runs: Runs, variance: np.ndarray, method: Method) -> tuple[Runs, np.ndarray]:
    """The method's points, each at the compute where it stands, and their known variances.

    UnfitPoints where they cannot carry the form.
    """
    place = runs.place
    if len(runs) < 2:
        raise UnfitPoints(f"{place}: {len(runs)} point. A law needs several runs; add cells to the grid.")
    if np.ptp(runs.log_compute) == 0:
        raise UnfitPoints(f"{place}: all {len(runs)} runs have the same compute. Add runs at another compute.")
    if np.ptp(runs.log_error) == 0:
        raise UnfitPoints(f"{place}: all {len(runs)} runs have the same error. There is no slope to measure.")
    chosen = method.choose(runs.log_compute, runs.log_error)
    rows = chosen.index[chosen.used]
    used = replace(runs.take(rows), compute=10 ** chosen.log_compute[chosen.used])
    need = len(method.law.parameters) + 1
    if len(used) < need:
        raise UnfitPoints(
            f"{place}: {method.name} finds {len(used)} points among {len(runs)} runs and its form needs {need}.",
            remedy="Add cells to the grid." if method.name == "ols-all" else "Add cells to the grid, or fit ols-all.",
        )
    if isinstance(method.law, LogLinear):
        design = method.law.design(Reference.of(used, method.law.factors).columns_of(used))
        if np.linalg.matrix_rank(design) < design.shape[-1]:
            raise UnfitPoints(
                f"{place}: {len(used)} points do not separate {', '.join(method.law.factors)}. "
                "Add runs that vary each of them on its own, or choose a method on compute alone."
            )
    return used, variance[rows]


def _solve(method: Method, points: Points, variance: np.ndarray) -> tuple[Solution, Points, float]:
    """The estimate, its points with their weights, and the variance that runs scatter with beyond the known one.

    With known variances the weights are 1 / (variance + extra), extra by Paule and Mandel (1982): the weighted squares
    equal the degrees of freedom.
    """
    estimate = sum_huber if method.estimator == "huber" else least_squares
    solution, extra = estimate(method.law, method.axis, points), 0.0
    if not variance.any():
        return solution, points, extra
    degrees = len(variance) - len(method.law.parameters)
    for _ in range(50):
        modelled = method.law.log_error(solution.theta, points.columns)
        squares = (method.axis.value(points.log_error) - method.axis.value(modelled)) ** 2
        before, extra = extra, _extra_variance(squares, variance, degrees)
        points = Points(points.columns, points.log_error, 1 / (variance + extra))
        solution = estimate(method.law, method.axis, points)
        if abs(extra - before) <= 1e-9 * (extra + variance.min()):
            break
    return solution, points, extra


def _extra_variance(squares: np.ndarray, variance: np.ndarray, degrees: int) -> float:
    """The extra >= 0 at which sum of squares / (variance + extra) equals the degrees of freedom, or 0."""

    def excess(extra: float) -> float:
        return float((squares / (variance + extra)).sum()) - degrees

    return 0.0 if excess(0.0) <= 0 else float(optimize.brentq(excess, 0.0, squares.sum() / degrees, xtol=1e-18))


def _inverse_information(method: Method, points: Points, theta: np.ndarray) -> np.ndarray:
    """(J' W J)^-1 on the scale's axis; zero rows for parameters at a bound, which do not move."""
    form, scale = method.law, method.axis
    log_error, jacobian = form.with_jacobian(theta, points.columns)
    jacobian = (np.sqrt(points.weights) * scale.slope(log_error))[:, None] * jacobian
    low, high = form.bounds(points.columns, points.log_error)
    free = (theta > low) & (theta < high)
    covariance = np.zeros((len(theta), len(theta)))
    inverse = np.linalg.pinv(jacobian[:, free])
    covariance[np.ix_(free, free)] = inverse @ inverse.T
    return covariance
