"""The study's tables, gathered from its law files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from .holdout import least_relative_error

Laws = Sequence[dict[str, Any]]
TARGET = ["target", "metric"]


def laws_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, source, method)."""
    columns = (
        "target metric source method form n_points alpha alpha_low alpha_high beta floor r2 holdout_mae_pp verdict"
    )
    return _rows(laws, "fits", columns)


def predictions_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, source, method, cell or scenario): accuracy as a fraction, a loss in nats."""
    columns = "target metric source method model samples_seen data compute_gmacs predicted low high actual"
    return _rows(laws, "predictions", columns)


def sensitivity_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, source, choice): the exponent under every defensible choice."""
    return _rows(laws, "sensitivity", "target metric source left_out points scale estimator n_points alpha")


def comparisons_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, pair of sources, method)."""
    columns = (
        "target metric first second method difference difference_low difference_high significant "
        "crossover_gmacs crossover_low crossover_high verdict"
    )
    return _rows(laws, "comparisons", columns)


def methods_table(laws: Laws) -> pd.DataFrame:
    """One row a (source, method): hold-out error over the targets with a law, and how often its intervals held.

    `chosen` marks the default method of the source: the one of least hold-out error (`least_relative_error`).
    """
    fits = _rows(laws, "fits", "target metric source method holdout_mae_pp holdout")
    fits = fits[fits["holdout_mae_pp"].notna()].assign(cells=fits["holdout"].map(len))
    rows = []
    for source, part in fits.groupby("source", sort=False):
        default = _default(part)
        for method, group in part.groupby("method", sort=False):
            held = [row["low"] <= row["actual"] <= row["high"] for cells in group["holdout"] for row in cells]
            counts = {"targets": len(group), "predictions": len(held)}
            scores = {"holdout_mae_pp": group["holdout_mae_pp"].mean(), "intervals_held": np.mean(held)}
            rows.append({"source": source, "method": method, **counts, **scores, "chosen": method == default})
    columns = "source method targets predictions holdout_mae_pp intervals_held chosen"
    return pd.DataFrame(rows, columns=columns.split())


def leave_out_table(laws: Laws) -> pd.DataFrame:
    """One row a (target, metric, source, method, cell left out): actual and predicted error, difference in pp.

    `chosen` marks the method that the rolling hold-out over the remaining runs of these targets names; it is named
    without a look at the cells left out.
    """
    columns = (
        "target metric source method chosen holdout_mae_pp cell compute_gmacs actual predicted low high difference_pp"
    )
    rows = _rows(laws, "leave_out", columns.replace(" chosen", "") + " cells")
    rows["chosen"] = False
    rows["difference_pp"] = 100 * (rows["predicted"] - rows["actual"])
    for _, part in rows.groupby("source"):
        default = _default(part.drop_duplicates([*TARGET, "method"]))
        rows.loc[part.index, "chosen"] = part["method"] == default
    return rows[columns.split()]


def _default(scores: pd.DataFrame) -> str | None:
    pivots = [scores.pivot(index="method", columns=TARGET, values=name) for name in ("holdout_mae_pp", "cells")]
    return least_relative_error(*pivots)


def _rows(laws: Laws, key: str, columns: str) -> pd.DataFrame:
    rows = [{**row, "target": law["target"], "metric": law["metric"]} for law in laws for row in law[key]]
    return pd.DataFrame(rows, columns=columns.split())
