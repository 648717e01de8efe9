"""From a metric's own sense, an accuracy or a loss, to the error that laws are fitted to."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def is_loss(metric: str) -> bool:
    """Whether the metric is itself an error (nats), and not an accuracy or recall."""
    return metric.endswith("loss")


def to_error(metric: str, value: ArrayLike) -> np.ndarray:
    """1 - value for accuracies and recalls, the value itself for a loss."""
    return np.asarray(value, dtype=float) if is_loss(metric) else 1.0 - np.asarray(value, dtype=float)


def from_error(metric: str, error: ArrayLike) -> np.ndarray:
    """The inverse of `to_error`."""
    return np.asarray(error, dtype=float) if is_loss(metric) else 1.0 - np.asarray(error, dtype=float)
