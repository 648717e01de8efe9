"""95 % intervals of what an evaluation measures, over the images or pairs of the set."""

from __future__ import annotations

import math

import numpy as np
from scipy import stats


def wilson(value: float, n: int) -> tuple[float, float]:
    """Wilson interval of a share `value` of n independent trials."""
    interval = stats.binomtest(round(value * n), n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Normal interval of the mean of (n,) independent values."""
    half = 1.959964 * float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) - half, float(values.mean()) + half


def recall_interval(correct: np.ndarray, target: np.ndarray, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap, stratified by class, of the mean over classes of the share of correct images.

    correct: (n,) bool. target: (n,) class of each image.
    Within a class the number of correct images is binomial, so it is drawn directly.
    """
    generator = np.random.default_rng(seed)
    _, index = np.unique(target, return_inverse=True)
    sizes = np.bincount(index)
    shares = np.bincount(index, weights=correct) / sizes
    means = (generator.binomial(sizes, shares, size=(draws, len(sizes))) / sizes).mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
