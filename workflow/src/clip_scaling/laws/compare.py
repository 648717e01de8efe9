"""Two sources on one target: whose exponent is steeper, which is better at a compute, where they cross."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..errors import LawError
from ..records.laws import Comparison, Confound, RatioAt
from .fits import Fit
from .student import t_reach

HYPER_PARAMETERS = ("global_batch_size", "learning_rate", "warmup_steps")


def compare(
    first: Fit, second: Fit, compute: Sequence[float] = (), recipes: pd.DataFrame | None = None, level: float = 0.95
) -> Comparison:
    """Compare two power laws of one target (Student's t for the difference, Fieller's set for the crossover).

    compute: GMAC at which to say which is better. recipes: columns cell and any of HYPER_PARAMETERS.
    LawError where either is no power law of compute.
    """
    for fit in (first, second):
        if fit.method.form != "power" or not fit.is_law:
            raise LawError(f"{fit.target} {fit.metric} ({fit.source}): {fit.method.name} gave no power law to compare.")
    origin = float(np.mean([_centre(first), _centre(second)]))
    (theta_a, cov_a), (theta_b, cov_b) = _at_origin(first, origin), _at_origin(second, origin)
    delta, variance = theta_a - theta_b, cov_a + cov_b
    reach, degrees = _reach(np.array([0.0, 1.0]), first, second, cov_a, cov_b, level)
    low, high = delta[1] - reach, delta[1] + reach
    significant = bool(low > 0 or high < 0)
    crossing = -delta[0] / delta[1]
    ends = _fieller(delta, variance, t_reach(level, degrees))
    rows = []
    for value in compute:
        direction = np.array([1.0, np.log(value) - origin])
        gap = float(direction @ delta)
        spread, _ = _reach(direction, first, second, cov_a, cov_b, level)
        better = first.source if gap + spread < 0 else second.source if gap - spread > 0 else None
        ratio = {"ratio": np.exp(gap), "ratio_low": np.exp(gap - spread), "ratio_high": np.exp(gap + spread)}
        rows.append(RatioAt(compute_gmacs=float(value), better=better, **{k: float(v) for k, v in ratio.items()}))
    found = confounds(first, second, recipes) if recipes is not None else []
    return Comparison(
        first=first.source,
        second=second.source,
        method=first.method.name,
        difference=float(delta[1]),
        difference_low=float(low),
        difference_high=float(high),
        significant=significant,
        crossover_gmacs=_compute_at(crossing + origin),
        crossover_low=_compute_at(ends[0] + origin),
        crossover_high=_compute_at(ends[1] + origin),
        better=rows,
        confounds=found,
        verdict=_verdict(first, second, float(delta[1]), significant, found),
    )


def confounds(first: Fit, second: Fit, recipes: pd.DataFrame) -> list[Confound]:
    """Hyper-parameters of the points used: {name, first, second (values, sorted), matched}.

    Matched means that both sources used the same single value; anything else may explain a difference.
    """
    found = []
    for name in HYPER_PARAMETERS:
        if name not in recipes:
            continue
        by_cell = recipes.drop_duplicates("cell").set_index("cell")[name]
        values = [
            sorted(by_cell.reindex(fit.points_used["cell"]).dropna().unique().tolist()) for fit in (first, second)
        ]
        matched = values[0] == values[1] and len(values[0]) == 1
        found.append(Confound(name=name, first=values[0], second=values[1], matched=matched))
    return found


def _centre(fit: Fit) -> float:
    assert fit.reference is not None
    return fit.reference.logs["compute"]


def _at_origin(fit: Fit, origin: float) -> tuple[np.ndarray, np.ndarray]:
    """theta and covariance of (ln E at the origin, alpha)."""
    assert fit.theta is not None and fit.covariance is not None
    move = np.array([[1.0, origin - _centre(fit)], [0.0, 1.0]])
    return move @ fit.theta, move @ fit.covariance @ move.T


def _reach(
    direction: np.ndarray, first: Fit, second: Fit, cov_a: np.ndarray, cov_b: np.ndarray, level: float
) -> tuple[float, int]:
    """Half-width of the interval of direction . (theta_a - theta_b), and its degrees of freedom.

    The lesser of the two fits' degrees of freedom, which never covers too little (Mickey and Brown 1966). Welch's
    approximation would trust a standard error from three points because the other fit's is good.
    """
    degrees = min(first.degrees, second.degrees)
    return float(t_reach(level, degrees) * np.sqrt(direction @ (cov_a + cov_b) @ direction)), degrees


def _fieller(delta: np.ndarray, variance: np.ndarray, quantile: float) -> tuple[float, float]:
    """Where delta0 + delta1 x may be zero; infinite unless the slopes differ significantly."""
    square = delta[1] ** 2 - quantile**2 * variance[1, 1]
    half = delta[0] * delta[1] - quantile**2 * variance[0, 1]
    rest = delta[0] ** 2 - quantile**2 * variance[0, 0]
    if square <= 0:
        return -np.inf, np.inf
    root = np.sqrt(half**2 - square * rest)
    return (-half - root) / square, (-half + root) / square


def _compute_at(log: float) -> float | None:
    return float(np.exp(log)) if np.isfinite(log) and abs(log) < 300 else None


def _verdict(first: Fit, second: Fit, difference: float, significant: bool, found: list[Confound]) -> str:
    steeper, other = (first, second) if difference < 0 else (second, first)
    if significant:
        text = f"{steeper.source} falls faster than {other.source} (difference of exponents {-abs(difference):+.3f})"
    else:
        fewest = min(first, second, key=lambda fit: fit.n_points)
        text = f"with {fewest.n_points} points of {fewest.source} the difference of exponents is not significant"
    unmatched = [item.name.replace("_", " ") for item in found if not item.matched]
    return text + (f"; not matched: {', '.join(unmatched)}" if unmatched else "")
