"""Prediction intervals that hold: widened by what a method's rolling hold-outs on all *other* targets say it takes.

A law is wrong beyond its data in ways that its residuals do not show. On one target a hold-out has a handful of
predictions; over many targets there are enough to know by how much a method's intervals must grow. The factor of a
target never comes from that target, so how often its widened intervals held is an honest count (split conformal
prediction over targets; Vovk et al. 2005).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from ..records.laws import FittedLaw, HeldOut, LawFile, LeftOut, Prediction, Row
from ..records.metrics import from_error, is_loss, to_error

FEWEST = 20  # Misses of other targets below which their quantile says nothing, and nothing is widened.


def as_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as a table, a column a field."""
    return pd.DataFrame([dict(row) for row in rows])


def misses(rows: pd.DataFrame) -> np.ndarray:
    """(n,) how many half-widths of its interval each held-out error lies from its prediction, in ln E.

    rows: actual, predicted, low, high (errors). Above 1 the interval did not hold.
    """
    if not len(rows):
        return np.empty(0)
    actual, predicted, low, high = (np.log(rows[name].astype(float)) for name in ("actual", "predicted", "low", "high"))
    above = actual > predicted
    reach = np.where(above, high - predicted, predicted - low)
    return np.asarray(np.abs(actual - predicted) / np.maximum(reach, 1e-12))


def factor(others: Sequence[np.ndarray], level: float = 0.9) -> float:
    """The factor, at least 1, by which intervals would have held `level` of these targets' predictions.

    Each target counts alike, however many predictions it has.
    """
    parts = [part for part in others if len(part)]
    if sum(map(len, parts)) < FEWEST:
        return 1.0
    values = np.concatenate(parts)
    weights = np.concatenate([np.full(len(part), 1 / len(part)) for part in parts])
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    return max(1.0, float(values[order][min(np.searchsorted(share, level), len(values) - 1)]))


def factors(by_target: Mapping[Any, np.ndarray]) -> dict[Any, float]:
    """The factor of each target, from all the others."""
    return {target: factor([part for other, part in by_target.items() if other != target]) for target in by_target}


def widen(predicted: Any, low: Any, high: Any, by: float) -> tuple[Any, Any]:
    """Ends of an interval of errors (numbers or arrays), each moved away from the prediction by this factor in ln E."""
    return predicted * (low / predicted) ** by, predicted * (high / predicted) ** by


def calibrated(laws: Sequence[LawFile]) -> list[LawFile]:
    """Law files with the intervals of predictions, hold-outs and models left out widened by their targets' factors.

    Fits gain `interval_factor`; of `holdout` rows low and high change, and with them `holdout_interval_held`.
    """
    widths = _factors((law, fit, misses(as_frame(fit.holdout))) for law in laws for fit in law.fits)
    unseen = _factors((law, row, np.array(row.misses)) for law in laws for row in law.leave_out)
    return [
        law.model_copy(
            update={
                "fits": [_widened_fit(fit, widths[_key(law, fit)]) for fit in law.fits],
                "predictions": [_widened_value(law.metric, row, widths[_key(law, row)]) for row in law.predictions],
                "leave_out": [_widened_error(row, unseen[_key(law, row)]) for row in law.leave_out],
            }
        )
        for law in laws
    ]


Widened = TypeVar("Widened", HeldOut, LeftOut)
_Key = tuple[str, str, tuple[str, str]]


def _key(law: LawFile, row: FittedLaw | Prediction | LeftOut) -> _Key:
    return row.source, row.method, (law.target, law.metric)


def _factors(rows: Iterable[tuple[LawFile, FittedLaw | LeftOut, np.ndarray]]) -> dict[_Key, float]:
    """The factor of each (source, method, target)."""
    groups: dict[tuple[str, str], dict[tuple[str, str], np.ndarray]] = {}
    for law, row, missed in rows:
        source, method, target = _key(law, row)
        groups.setdefault((source, method), {})[target] = missed
    return {
        (*group, target): value for group, by_target in groups.items() for target, value in factors(by_target).items()
    }


def _widened_fit(fit: FittedLaw, by: float) -> FittedLaw:
    rows = [_widened_error(row, by) for row in fit.holdout]
    within = [row.low <= row.actual <= row.high for row in rows]
    share = float(np.mean(within)) if within else None
    return fit.model_copy(update={"holdout": rows, "interval_factor": by, "holdout_interval_held": share})


def _widened_error(row: Widened, by: float) -> Widened:
    low, high = widen(row.predicted, row.low, row.high, by)
    return row.model_copy(update={"low": float(low), "high": float(high)})


def _widened_value(metric: str, row: Prediction, by: float) -> Prediction:
    """The same of a prediction in the metric's own sense. An accuracy below 0 is none: the error stops at 1."""
    if row.low is None or row.high is None:
        return row
    error, one, other = (float(to_error(metric, value)) for value in (row.predicted, row.low, row.high))
    low, high = widen(error, min(one, other), max(one, other), by)
    ends = from_error(metric, np.array([low, high if is_loss(metric) else min(high, max(1.0, one, other))]))
    return row.model_copy(update={"low": float(ends.min()), "high": float(ends.max())})
