"""95 % intervals of metrics, over the images or pairs of a set."""

from __future__ import annotations

import math

import numpy as np

_Z = 1.959963984540054
"""97.5 % quantile of the normal distribution."""


def wilson(value: float, n: int) -> tuple[float, float]:
    """Wilson's score interval of a share `value` of n independent trials (Wilson 1927)."""
    # By hand: scipy.stats has it, and takes longer to import than a small set to evaluate.
    share = round(value * n) / n
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return max(0.0, middle - half), min(1.0, middle + half)


def mean_interval(values: np.ndarray) -> tuple[float, float]:
    """Normal interval of the mean of (n,) independent values."""
    half = _Z * float(values.std(ddof=1)) / math.sqrt(len(values))
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
