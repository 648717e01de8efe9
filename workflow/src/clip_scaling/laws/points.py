"""Which points a law is fitted to. Every choice works on whole batches of resampled grids at once.

A choice takes log10 compute and log10 error, both (..., n), and returns a `Selection` of (..., m) places:
which run won each place, whether the place is filled, and at which log10 compute it stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BINS = 5


@dataclass(frozen=True)
class Selection:
    """index: (..., m) of the run at each place; used: (..., m) filled or not; log_compute: (..., m) where it stands."""

    index: np.ndarray
    used: np.ndarray
    log_compute: np.ndarray


Choose = Callable[[np.ndarray, np.ndarray], Selection]


def all_points(log_compute: np.ndarray, log_error: np.ndarray) -> Selection:
    """Every run, at its own compute."""
    index = np.broadcast_to(np.arange(log_compute.shape[-1]), log_compute.shape)
    return Selection(index, np.ones(log_compute.shape, dtype=bool), log_compute)


def binned_minimum(
    log_compute: np.ndarray, log_error: np.ndarray, *, bins: int = BINS, at_centre: bool = True, margin: float = 0.1
) -> Selection:
    """The best run in each of `bins` equal bins of log10 compute over [min, max + margin].

    With 5 bins, margin 0.1 and the bins' centres as compute this is the paper's choice (its released notebook,
    `binned_line_fit`). at_centre False: the winners stand at their own compute.
    """
    low = log_compute.min(axis=-1, keepdims=True)
    high = log_compute.max(axis=-1, keepdims=True) + margin
    edges = low + (high - low) * np.arange(bins + 1) / bins
    bin_of = (log_compute[..., None] >= edges[..., None, 1:-1]).sum(axis=-1)
    inside = bin_of[..., None, :] == np.arange(bins)[:, None]
    index = np.where(inside, log_error[..., None, :], np.inf).argmin(axis=-1)
    centres = (edges[..., 1:] + edges[..., :-1]) / 2
    stands = centres if at_centre else np.take_along_axis(log_compute, index, axis=-1)
    return Selection(index, inside.any(axis=-1), stands)


def frontier(log_compute: np.ndarray, log_error: np.ndarray) -> Selection:
    """The strict frontier: the runs that no run of the same or less compute equals or beats."""
    order = np.lexsort((log_error, log_compute))
    error = np.take_along_axis(log_error, order, axis=-1)
    best_before = np.minimum.accumulate(error, axis=-1)
    used = np.ones(error.shape, dtype=bool)
    used[..., 1:] = error[..., 1:] < best_before[..., :-1]
    return Selection(order, used, np.take_along_axis(log_compute, order, axis=-1))


def hull(log_compute: np.ndarray, log_error: np.ndarray) -> Selection:
    """The falling lower convex hull in log-log: the frontier's runs that lie below every chord between others."""
    chosen = frontier(log_compute, log_error)
    used = chosen.used.copy()
    error = np.take_along_axis(log_error, chosen.index, axis=-1)
    for row in np.ndindex(used.shape[:-1]):
        stack: list[int] = []
        for place in np.flatnonzero(used[row]):
            while len(stack) > 1 and _turns_up(chosen.log_compute[row], error[row], stack[-2], stack[-1], place):
                stack.pop()
            stack.append(int(place))
        used[row] = False
        used[row][stack] = True
    return Selection(chosen.index, used, chosen.log_compute)


def _turns_up(x: np.ndarray, y: np.ndarray, first: int, middle: int, last: int) -> bool:
    """Whether the middle point lies on or above the chord from first to last."""
    return bool((y[middle] - y[first]) * (x[last] - x[first]) >= (y[last] - y[first]) * (x[middle] - x[first]))
