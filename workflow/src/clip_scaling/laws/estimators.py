"""Estimators: from points and a form to parameters. Batched over leading axes, so a bootstrap is one call."""

from __future__ import annotations

import numpy as np


def least_squares(design: np.ndarray, values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted linear least squares.

    design: (..., n, p); values, weights: (..., n), weight 0 for an unfilled place.
    Returns theta (..., p) and the unscaled covariance (..., p, p), (X' W X)^-1.
    """
    root = np.sqrt(weights)
    inverse = np.linalg.pinv(design * root[..., None])
    theta = np.einsum("...pn,...n->...p", inverse, values * root)
    return theta, inverse @ np.swapaxes(inverse, -1, -2)
