"""The study's tables, gathered from its law files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..records.law_tables import (
    ALLOCATION,
    COMPARISONS,
    LAWS,
    LEAVE_OUT,
    METHODS,
    NEXT_CELLS,
    PREDICTIONS,
    SENSITIVITY,
)
from ..records.laws import LawFile
from .calibrate import as_frame, misses
from .holdout import least_relative_error

Laws = Sequence[LawFile]
TARGET = ["target", "metric"]


def laws_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, source, method).

    holdout_mae is in the error's own unit; holdout_mae_pp, in percentage points, is empty for a loss. n_saturated and
    n_diverged: runs left out.
    """
    rows = _rows(laws, "fits", LAWS.names)
    return rows.assign(verdict=rows["verdict"].map(str))


def predictions_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, source, method, cell or scenario): accuracy as a fraction, a loss in nats."""
    return _rows(laws, "predictions", PREDICTIONS.names)


def sensitivity_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, source, choice): the exponent under every defensible choice."""
    return _rows(laws, "sensitivity", SENSITIVITY.names)


def comparisons_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, pair of sources, method).

    error_ratio: the first's error over the second's at the greatest compute that both measured (at_gmacs), with its
    interval; `better` names a source where that excludes 1. unmatched: hyper-parameters that may explain a difference.
    """
    found = _rows(laws, "comparisons", ["target", "metric", "better", "confounds"])
    rows = _rows(laws, "comparisons", COMPARISONS.names)
    names = {"at_gmacs": "compute_gmacs", "better": "better"} | {
        f"error_{name}": name for name in ("ratio", "ratio_low", "ratio_high")
    }
    for ours, theirs in names.items():
        rows[ours] = [getattr(places[0], theirs) if places else None for places in found["better"]]
    rows["unmatched"] = [" ".join(c.name for c in items if not c.matched) for items in found["confounds"]]
    return rows


def allocation_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, source, method, budget): model size and samples seen of least error."""
    return _rows(laws, "allocation", ALLOCATION.names)


def next_cells_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, source, candidate), best first: what it would take off the exponent's interval."""
    return _rows(laws, "next_cells", NEXT_CELLS.names)


def methods_table(laws: Laws) -> pd.DataFrame:
    """One row a (source, method): hold-out error over the targets with a law, and how often its intervals held.

    laws: calibrated, or not. intervals_held: of 90 % intervals as they are printed; interval_factor: the median over
    targets of what they were widened by (1 where they were not); intervals_held_before: without that.
    holdout_mae_pp: mean over accuracies and recalls. `chosen` marks the default method of the source: the one of least
    hold-out error (`least_relative_error`).
    """
    wanted = "target metric source method holdout_mae holdout_mae_pp holdout interval_factor"
    fits = _rows(laws, "fits", wanted.split())
    fits = fits[fits["holdout_mae"].notna()].assign(cells=fits["holdout"].map(len))
    fits["interval_factor"] = fits["interval_factor"].astype(float).fillna(1.0)
    rows = []
    for source, part in fits.groupby("source", sort=False):
        default = _default(part)
        for method, group in part.groupby("method", sort=False):
            missed = [misses(as_frame(cells)) for cells in group["holdout"]]
            now = np.concatenate(missed)
            before = np.concatenate([m * by for m, by in zip(missed, group["interval_factor"], strict=True)])
            rows.append(
                {
                    "source": source,
                    "method": method,
                    "targets": len(group),
                    "predictions": len(now),
                    "holdout_mae_pp": group["holdout_mae_pp"].astype(float).mean(),
                    "intervals_held": (now <= 1).mean(),
                    "interval_factor": group["interval_factor"].median(),
                    "intervals_held_before": (before <= 1).mean(),
                    "chosen": method == default,
                }
            )
    return pd.DataFrame(rows, columns=METHODS.names)


def leave_out_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, source, method, cell left out): actual and predicted error, difference in pp.

    `chosen` marks the method that the rolling hold-out over the remaining runs of these targets names; it is named
    without a look at the cells left out.
    """
    wanted = "target metric source method holdout_mae cell compute_gmacs actual predicted low high cells"
    senses = {
        "actual": "error",
        "predicted": "predicted_error",
        "low": "predicted_error_low",
        "high": "predicted_error_high",
    }
    rows = _rows(laws, "leave_out", wanted.split()).rename(columns=senses)
    rows["chosen"] = False
    rows["difference_pp"] = 100 * (rows["predicted_error"] - rows["error"])
    for _, part in rows.groupby("source"):
        default = _default(part.drop_duplicates([*TARGET, "method"]))
        rows.loc[part.index, "chosen"] = part["method"] == default
    return rows[LEAVE_OUT.names]


def _default(scores: pd.DataFrame) -> str | None:
    pivots = [scores.pivot(index="method", columns=TARGET, values=name) for name in ("holdout_mae", "cells")]
    return least_relative_error(*pivots)


def _rows(laws: Laws, key: str, columns: Sequence[str]) -> pd.DataFrame:
    """Rows of one list of all law files; nested rows stay records."""
    rows = [dict(row) | {"target": law.target, "metric": law.metric} for law in laws for row in getattr(law, key)]
    return pd.DataFrame(rows, columns=columns)
