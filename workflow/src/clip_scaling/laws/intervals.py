"""Intervals of a law's parameters: Student's t, the profile of the cost, refits of redrawn runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .estimators import (
    Points,
    Solution,
    least_squares,
    levenberg_marquardt,
    linear_least_squares,
    sum_huber,
)
from .forms import LogLinear, Reference
from .methods import Method
from .redraw import Redraws, redraw_about_fit, redraw_about_surface
from .runs import Runs
from .student import t_reach

LEVEL = 0.95
_WALK = np.geomspace(0.1, 80.0, 32)  # Standard errors away from the estimate where a profile is looked at.


def t_interval(estimate: float, error: float, degrees: int, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of one linear parameter."""
    reach = t_reach(LEVEL, degrees) * error
    return estimate - reach, estimate + reach


def profile_interval(
    method: Method, points: Points, theta: np.ndarray, cost: float, error: float, degrees: int, index: int
) -> tuple[float, float]:
    """Where the cost, minimised over all other parameters, stays within an F quantile of its minimum.

    index: of the parameter in theta. error: a first guess of its standard error. An end is infinite where the cost
    does not rise enough before the parameter's bound: the data do not bound it there.
    """
    form = method.law
    low, high = form.bounds(points.columns, points.log_error)
    allowed = t_reach(LEVEL, degrees) ** 2  # the quantile of F with 1 degree of freedom
    unit = error if np.isfinite(error) and 0 < error < 2 else 0.2
    starts = np.vstack([theta, _some_starts(method, points)])
    ends = []
    for side in (-1.0, 1.0):
        stop = low[index] if side < 0 else high[index]
        walk = theta[index] + side * np.unique(np.minimum(unit * _WALK, abs(stop - theta[index])))
        begin = np.repeat(starts[None], len(walk), axis=0)
        begin[..., index] = walk[:, None]
        floor, ceiling = (np.broadcast_to(bound, begin.shape).copy() for bound in (low, high))
        floor[..., index] = ceiling[..., index] = walk[:, None]
        costs = levenberg_marquardt(form, method.axis, points, begin, (floor, ceiling))[1].min(axis=-1)
        root = np.sqrt(np.maximum(costs / cost - 1, 0) * degrees / allowed)
        outside = np.flatnonzero(root > 1)
        if not len(outside):
            ends.append(side * np.inf)
            continue
        first = outside[0]
        before, at = (0.0, theta[index]) if first == 0 else (root[first - 1], walk[first - 1])
        ends.append(float(at + (walk[first] - at) * (1 - before) / (root[first] - before)))
    return ends[0], ends[1]


def refit(
    runs: Runs, values: np.ndarray, weights: np.ndarray, method: Method, reference: Reference, theta: np.ndarray
) -> np.ndarray:
    """theta (b, p) of runs whose values on the scale's axis are these (b, n), the choice of points redone in each draw.

    weights: (n,) of the runs. Draws whose points are too few for the form are left out, as a fit would refuse them.
    """
    log_error = np.log(method.axis.error(values))
    chosen = method.choose(np.broadcast_to(runs.log_compute, values.shape), log_error)
    used = np.broadcast_to(chosen.used, chosen.index.shape)
    sound = used.sum(axis=-1) > len(method.law.parameters)
    won, used = chosen.index[sound], used[sound]
    columns = {name: column[won] for name, column in reference.columns_of(runs).items()}
    if "compute" in columns:
        columns["compute"] = chosen.log_compute[sound] * np.log(10) - reference.logs["compute"]
    points = Points(columns, np.take_along_axis(log_error[sound], won, axis=-1), weights[won] * used)
    if method.estimator == "huber":
        return np.array([_huber_draw(method, points, row, theta) for row in range(len(won))])
    if isinstance(method.law, LogLinear) and method.scale != "logit":
        return linear_least_squares(method.law.design(points.columns), points.log_error, points.weights)
    low, high = method.law.bounds({k: v.ravel() for k, v in points.columns.items()}, points.log_error)
    begin = np.broadcast_to(theta, (len(points.log_error), len(theta)))
    # A draw's own error is far above the digits that a fit is taken to.
    return levenberg_marquardt(method.law, method.axis, points, begin, (low, high), tolerance=1e-7)[0]


def _huber_draw(method: Method, points: Points, row: int, theta: np.ndarray) -> np.ndarray:
    one = Points({k: v[row] for k, v in points.columns.items()}, points.log_error[row], points.weights[row])
    return sum_huber(method.law, method.axis, one, theta[None]).theta


def redraw(
    runs: Runs,
    method: Method,
    reference: Reference,
    theta: np.ndarray,
    weights: np.ndarray,
    draws: int,
    generator: np.random.Generator,
) -> Redraws:
    """The grid measured again: about its smooth surface where a method chooses points, else about its own law."""
    values = method.axis.value(np.log(runs.error))
    if method.points != "all":
        return redraw_about_surface(runs, values, weights, draws, generator)
    fitted = method.axis.value(method.law.log_error(theta, reference.columns_of(runs)))
    return redraw_about_fit(fitted, values, len(theta), weights, draws, generator)


def draws_bias(
    sample: np.ndarray,
    redraws: Redraws,
    runs: Runs,
    weights: np.ndarray,
    method: Method,
    reference: Reference,
    theta: np.ndarray,
) -> np.ndarray:
    """How far the draws' mean lies from what the method makes of the surface without any scatter (p,)."""
    if method.points == "all" or not isinstance(method.law, LogLinear):
        return np.zeros(len(theta))
    plain = refit(runs, redraws.centre[None], weights, method, reference, theta)
    return sample.mean(axis=0) - plain[0] if len(plain) else np.zeros(len(theta))


@dataclass(frozen=True)
class Spread:
    """How far a fit's parameters may be off. squares: weighted sum of squares at the minimum; scatter: of one run.

    covariance: (p, p). sample: (b, p) parameters of redrawn grids, none without a bootstrap. bias: (p,) of these.
    """

    squares: float
    covariance: np.ndarray
    degrees: int
    scatter: float
    sample: np.ndarray
    bias: np.ndarray


def intervals_of(
    interval: str, method: Method, points: Points, solution: Solution, spread: Spread, reference: Reference
) -> dict[str, tuple[float, float]]:
    """95 % intervals of exponents, floor and worth of repeats; a prefactor's alone says little and is left out."""
    names = [(i, name) for i, name in enumerate(method.law.parameters) if not name.startswith("beta")]
    errors, degrees = np.sqrt(np.diag(spread.covariance)), spread.degrees
    if interval == "bootstrap" and isinstance(method.law, LogLinear):
        # Draws of an exponent are near normal; their spread with Student's reach covers better than their quantiles.
        return {
            name: t_interval(float((solution.theta - spread.bias)[i]), float(errors[i]), degrees) for i, name in names
        }
    if interval == "bootstrap":
        values = method.law.natural(spread.sample, reference)
        least = method.law.bounds(points.columns, points.log_error)[0]
        found = {}
        for i, name in names:
            low, high = np.quantile(values[name], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            # A logarithm that a draw in forty sends to its bound is a zero that the data do not exclude.
            vanishes = not name.startswith("alpha") and np.quantile(spread.sample[:, i], (1 - LEVEL) / 2) < least[i] + 1
            found[name] = (-np.inf if vanishes else float(low), float(high))
        return _opened(found, method, points, solution, degrees)
    if interval == "t":
        return {name: t_interval(float(solution.theta[i]), float(errors[i]), degrees) for i, name in names}
    found = {}
    for i, name in names:
        ends = profile_interval(method, points, solution.theta, spread.squares, float(errors[i]), degrees, i)
        found[name] = _natural_ends(name, ends, reference)
    return found


def _opened(
    found: dict[str, tuple[float, float]], method: Method, points: Points, solution: Solution, degrees: int
) -> dict[str, tuple[float, float]]:
    """The intervals with an end open where the profile of the squares has none: all draws begin at the same theta.

    Runs far from the law weigh less (Huber 1981, 1.345 robust deviations), as in the fit itself.
    """
    apart = np.abs(
        method.axis.value(points.log_error) - method.axis.value(method.law.log_error(solution.theta, points.columns))
    )
    reach = max(1.345 * 1.4826 * float(np.median(apart[points.weights > 0])), 1e-9)
    weights = points.weights * np.minimum(1.0, reach / np.maximum(apart, reach))
    robust = Points(points.columns, points.log_error, weights)
    best = least_squares(method.law, method.axis, robust, np.vstack([solution.theta, _some_starts(method, points)]))
    cost, theta = max(float(best.cost), 1e-300), best.theta
    result = {}
    for name, ends in found.items():
        walked = profile_interval(method, robust, theta, cost, 0.0, degrees, method.law.parameters.index(name))
        low, high = (walk if np.isinf(walk) else end for walk, end in zip(walked, ends, strict=True))
        result[name] = (low, high)
    return result


def _some_starts(method: Method, points: Points) -> np.ndarray:
    starts = method.law.starts(points.columns, points.log_error)
    return starts[:: max(1, len(starts) // 3)]


def _natural_ends(name: str, ends: tuple[float, float], reference: Reference) -> tuple[float, float]:
    """Floors, shifts and worths are logarithms in theta."""
    if name.startswith("alpha"):
        return ends
    centre = reference.logs["compute"] if name == "shift" else 0.0
    # An open lower end of a logarithm is a zero that the data do not exclude: keep it infinite, as not identified.
    return tuple(float(np.exp(end + centre)) if np.isfinite(end) else end for end in ends)  # type: ignore[return-value]
