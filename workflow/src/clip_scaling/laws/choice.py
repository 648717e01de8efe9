"""Which method the rolling hold-out of one target would choose."""

from __future__ import annotations

import pandas as pd

from .holdout import mean_absolute_error, rolling_holdout
from .methods import Method, find_method
from .runs import Runs, UnfitPoints

CANDIDATES = ("binned-min-5", "ols-all", "frontier-ols", "loglinear", "power-floor")


def best_by_holdout(runs: Runs, method: Method, holdout: pd.DataFrame) -> tuple[str | None, dict[str, float]]:
    """The method of least hold-out error among CANDIDATES that predict as many runs as this one, and their errors.

    holdout: of `method`. None where it has no predictions.
    """
    if not len(holdout):
        return None, {}
    scores = {method.name: mean_absolute_error(holdout)}
    for name in CANDIDATES:
        if name == method.name:
            continue
        try:
            rows = rolling_holdout(runs, find_method(name), draws=0)
        except UnfitPoints:
            continue
        if len(rows) == len(holdout):
            scores[name] = mean_absolute_error(rows)
    return min(scores, key=lambda name: scores[name]), scores
