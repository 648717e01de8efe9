"""Estimators: from points and a form to parameters.

Least squares is batched over leading axes, so that a bootstrap, a profile or many starts are one call.
The sum-Huber estimator (Hoffmann et al. 2022) goes through L-BFGS-B, one start at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from .forms import Columns, Form, LogLinear
from .scales import Scale

HUBER_DELTA = 1e-3  # Of ln E, as Chinchilla's: almost all residuals are on the linear side.
AGREEMENT = 1e-6  # Two starts agree when their costs do, relative to the best,
HUBER_AGREEMENT = 1e-3  # A kinked cost is not met to more digits.
EXACT = 1e-15  # or when both are those of exact points.


@dataclass(frozen=True)
class Points:
    """What an estimator sees: columns (..., n), ln E (..., n), weights (..., n; 0 for an unfilled place)."""

    columns: Columns
    log_error: np.ndarray
    weights: np.ndarray


@dataclass(frozen=True)
class Solution:
    """theta (..., p) and its cost (...), with what the optimiser says of itself."""

    theta: np.ndarray
    cost: np.ndarray
    report: Mapping[str, float | int | str]


def linear_least_squares(design: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """theta (..., p) of weighted least squares; design (..., n, p), values and weights (..., n)."""
    root = np.sqrt(weights)
    return np.einsum("...pn,...n->...p", np.linalg.pinv(design * root[..., None]), values * root)


def least_squares(form: Form, scale: Scale, points: Points, starts: np.ndarray | None = None) -> Solution:
    """Weighted least squares on the scale's axis: closed form where it is linear, else the best of many starts.

    starts: (k, p), all tried for every member of the batch; None for the form's own.
    """
    if isinstance(form, LogLinear) and scale.name != "logit":
        theta = linear_least_squares(form.design(points.columns), points.log_error, points.weights)
        residuals = points.log_error - form.log_error(theta, points.columns)
        return Solution(theta, (points.weights * residuals**2).sum(axis=-1), {"name": "closed form"})
    filled = points.log_error[points.weights > 0]
    flat = {name: column[points.weights > 0] for name, column in points.columns.items()}
    begin = form.starts(flat, filled) if starts is None else starts
    low, high = form.bounds(flat, filled)
    begin = np.broadcast_to(begin, (*points.log_error.shape[:-1], *begin.shape))
    spread = Points(
        {name: column[..., None, :] for name, column in points.columns.items()},
        points.log_error[..., None, :],
        points.weights[..., None, :],
    )
    theta, cost = levenberg_marquardt(form, scale, spread, begin, (low, high))
    best = cost.argmin(axis=-1)[..., None]
    least = np.take_along_axis(cost, best, axis=-1)
    agree = (cost <= least * (1 + AGREEMENT) + EXACT).mean()
    return Solution(
        np.take_along_axis(theta, best[..., None], axis=-2)[..., 0, :],
        least[..., 0],
        {"name": "Levenberg-Marquardt", "starts": begin.shape[-2], "agreement": float(agree)},
    )


STEPS = 100
"""Of the minimisation, at most."""


def levenberg_marquardt(
    form: Form,
    scale: Scale,
    points: Points,
    theta: np.ndarray,
    bounds: tuple[np.ndarray, np.ndarray],
    tolerance: float = 1e-10,
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise the weighted sum of squares from every theta (..., p) within its bounds, each (..., p) or (p,).

    A parameter is held fixed by equal bounds. Returns theta and cost (...). Members leave the batch as they converge.
    """
    shape, p, n = theta.shape[:-1], theta.shape[-1], points.log_error.shape[-1]
    theta = np.clip(theta, *bounds).reshape(-1, p)
    low, high = (np.broadcast_to(bound, (*shape, p)).reshape(-1, p) for bound in bounds)
    columns = {name: np.broadcast_to(c, (*shape, n)).reshape(-1, n) for name, c in points.columns.items()}
    value = np.broadcast_to(scale.value(points.log_error), (*shape, n)).reshape(-1, n)
    root = np.sqrt(np.broadcast_to(points.weights, (*shape, n)).reshape(-1, n))

    def residuals(at: np.ndarray, rows: np.ndarray) -> np.ndarray:
        here = {name: column[rows] for name, column in columns.items()}
        return root[rows] * (scale.value(form.log_error(at, here)) - value[rows])

    cost = (residuals(theta, np.arange(len(theta))) ** 2).sum(axis=-1)
    damping = np.full(len(theta), 1e-2)
    active = np.arange(len(theta))
    for _ in range(STEPS):
        here = {name: column[active] for name, column in columns.items()}
        at = theta[active]
        log_error, jacobian = form.with_jacobian(at, here)
        jacobian = (root[active] * scale.slope(log_error))[..., None] * jacobian
        gradient = np.einsum("bnp,bn->bp", jacobian, root[active] * (scale.value(log_error) - value[active]))
        held = ((at <= low[active]) & (gradient >= 0)) | ((at >= high[active]) & (gradient <= 0))
        jacobian = jacobian * ~held[:, None, :]
        normal = jacobian.swapaxes(-1, -2) @ jacobian
        diagonal = np.einsum("bpp->bp", normal)
        ridge = damping[active, None] * diagonal + 1e-12 * diagonal.max(axis=-1, keepdims=True) + held + 1e-300
        step = np.linalg.solve(normal + ridge[:, None, :] * np.eye(p), (gradient * ~held)[..., None])[..., 0]
        tried = np.clip(at - step, low[active], high[active])
        new_cost = (residuals(tried, active) ** 2).sum(axis=-1)
        better = new_cost < cost[active]
        done = np.where(better, cost[active] - new_cost <= tolerance * cost[active], damping[active] > 1e8)
        done |= cost[active] <= 1e-28
        theta[active[better]] = tried[better]
        cost[active[better]] = new_cost[better]
        damping[active] *= np.where(better, 0.1, 10.0)
        active = active[~done]
        if not len(active):
            break
    return theta.reshape(*shape, p), cost.reshape(shape)


def sum_huber(
    form: Form, scale: Scale, points: Points, starts: np.ndarray | None = None, delta: float = HUBER_DELTA
) -> Solution:
    """Sum (never the mean, which stops L-BFGS early) of Huber losses, by L-BFGS-B with analytic gradients.

    points: one set (n,), not a batch. starts: (k, p); None for the form's own, led by least squares.
    """
    low, high = form.bounds(points.columns, points.log_error)
    if starts is None:
        starts = least_squares(form, scale, points).theta[None]
        if not isinstance(form, LogLinear):
            starts = np.vstack([starts, form.starts(points.columns, points.log_error)[::2]])
    value = scale.value(points.log_error)

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        log_error, jacobian = form.with_jacobian(theta, points.columns)
        residual = scale.value(log_error) - value
        small = np.abs(residual) <= delta
        terms = np.where(small, residual**2 / 2, delta * (np.abs(residual) - delta / 2))
        pull = points.weights * np.clip(residual, -delta, delta) * scale.slope(log_error)
        # In units of delta, so that the optimiser's absolute tolerances mean the same for any delta.
        return float(points.weights @ terms) / delta, pull @ jacobian / delta

    options = {"maxiter": 2000, "maxfun": 4000, "ftol": 1e-14, "gtol": 1e-9}
    bounds = list(zip(low, high, strict=True))
    found = [minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options) for start in starts]
    costs = np.array([result.fun for result in found])
    best = found[int(costs.argmin())]
    report: dict[str, float | int | str] = {
        "name": "L-BFGS-B",
        "starts": len(found),
        "agreement": float((costs <= best.fun * (1 + HUBER_AGREEMENT)).mean()),
        "message": str(best.message),
    }
    return Solution(np.asarray(best.x), np.asarray(best.fun * delta), report)
