"""Intervals of a law's parameters: Student's t, the profile of the cost, refits of redrawn runs."""

from __future__ import annotations

import numpy as np

from .estimators import Points, levenberg_marquardt, linear_least_squares, sum_huber
from .forms import LogLinear, Reference
from .methods import Method
from .student import t_reach
from .table import Runs

LEVEL = 0.95
_WALK = np.geomspace(0.1, 80.0, 32)  # Standard errors away from the estimate where a profile is looked at.


def t_interval(estimate: float, error: float, degrees: int, level: float = LEVEL) -> tuple[float, float]:
    """Student's interval of one linear parameter."""
    reach = t_reach(level, degrees) * error
    return estimate - reach, estimate + reach


def profile_interval(
    method: Method, points: Points, theta: np.ndarray, cost: float, error: float, degrees: int, index: int,
    level: float = LEVEL,
) -> tuple[float, float]:  # fmt: skip
    """Where the cost, minimised over all other parameters, stays within an F quantile of its minimum.

    index: of the parameter in theta. error: a first guess of its standard error. An end is infinite where the cost
    does not rise enough before the parameter's bound: the data do not bound it there.
    """
    form = method.law
    low, high = form.bounds(points.columns, points.log_error)
    allowed = t_reach(level, degrees) ** 2  # the quantile of F with 1 degree of freedom
    unit = error if np.isfinite(error) and 0 < error < 2 else 0.2
    others = form.starts(points.columns, points.log_error)
    starts = np.vstack([theta, others[:: max(1, len(others) // 3)]])
    ends = []
    for side in (-1.0, 1.0):
        stop = low[index] if side < 0 else high[index]
        walk = theta[index] + side * np.unique(np.minimum(unit * _WALK, abs(stop - theta[index])))
        begin = np.repeat(starts[None], len(walk), axis=0)
        begin[..., index] = walk[:, None]
        floor, ceiling = (np.broadcast_to(bound, begin.shape).copy() for bound in (low, high))
        floor[..., index] = ceiling[..., index] = walk[:, None]
        costs = levenberg_marquardt(form, method.axis, points, begin, floor, ceiling)[1].min(axis=-1)
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
    return levenberg_marquardt(method.law, method.axis, points, begin, low, high)[0]


def _huber_draw(method: Method, points: Points, row: int, theta: np.ndarray) -> np.ndarray:
    one = Points({k: v[row] for k, v in points.columns.items()}, points.log_error[row], points.weights[row])
    return sum_huber(method.law, method.axis, one, theta[None]).theta
