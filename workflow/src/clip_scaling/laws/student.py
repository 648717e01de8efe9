"""Student's t: its quantiles, and the straight line with its standard error.

From scipy.special and numpy: importing scipy.stats takes longer than most fits, once in every job.
"""

from __future__ import annotations

import numpy as np
from scipy.special import stdtrit


def t_reach(level: float, degrees: int) -> float:
    """How many standard errors a two-sided Student interval of this level reaches to either side."""
    return float(stdtrit(degrees, (1 + level) / 2))


def slope_and_error(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Least-squares slope of y on x (each (n,), n > 2) and its standard error."""
    line, covariance = np.polyfit(x, y, 1, cov=True)
    return float(line[0]), float(np.sqrt(covariance[0, 0]))
