"""A table of one's own as a tidy table: column names, and units of compute, as its owner has them."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ..errors import LawError
from ..records.metrics import from_error

# A FLOP count takes a multiply and an add for one MAC; training costs three forward passes (Kaplan et al. 2020).
UNITS = {"GMAC": 1.0, "MAC": 1e-9, "GFLOP": 0.5, "FLOP": 0.5e-9}
PASSES = {"forward": 1.0, "total": 1 / 3}
COLUMNS = (
    "cell", "model", "data", "seed", "source", "dataset", "metric", "value", "error", "n",
    "compute_gmacs", "gmacs_per_sample", "samples_seen", "unique_pairs",
)  # fmt: skip


def tidy_table(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    target: str,
    metric: str,
    *,
    unit: str = "GMAC",
    passes: str = "forward",
) -> pd.DataFrame:
    """The table under the project's column names, compute in forward GMAC.

    columns: our name (of COLUMNS) -> theirs; a column of ours that the table has needs no entry. `error` may stand for
    `value`. Without `dataset` or `metric` all rows are of this target and metric; without `cell` runs are numbered;
    without compute it is gmacs_per_sample x samples_seen. unit, passes: of compute and of compute per sample.
    """
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise LawError(f"--column {ours}={theirs}: {ours!r} is none of {', '.join(COLUMNS)}.")
        if theirs not in table:
            raise LawError(f"--column {ours}={theirs}: the table has {', '.join(map(str, table.columns))}.")
    tidy = table.rename(columns={theirs: ours for ours, theirs in columns.items()})
    factor = UNITS[unit] * PASSES[passes]
    if "gmacs_per_sample" in tidy:
        tidy["gmacs_per_sample"] = factor * _numbers(tidy, "gmacs_per_sample")
    if "compute_gmacs" in tidy:
        tidy["compute_gmacs"] = factor * _numbers(tidy, "compute_gmacs")
    elif {"gmacs_per_sample", "samples_seen"} <= set(tidy):
        tidy["compute_gmacs"] = tidy["gmacs_per_sample"] * _numbers(tidy, "samples_seen")
    if "dataset" not in tidy:
        tidy["dataset"] = target
    if "metric" not in tidy:
        tidy["metric"] = metric
    if "cell" not in tidy:
        tidy["cell"] = [f"row {i}" for i in range(1, len(tidy) + 1)]
        whole = [name for name in COLUMNS if name in tidy and name != "cell"]
        repeated = tidy.duplicated(whole)
        if repeated.any():
            raise LawError(f"row {int(repeated.to_numpy().argmax()) + 1} repeats an earlier row. Keep one row a run.")
    if "error" in tidy and "value" not in tidy:
        tidy["value"] = from_error(metric, _numbers(tidy, "error"))
    if "value" in tidy:
        tidy["value"] = _numbers(tidy, "value")
    return tidy


def _numbers(table: pd.DataFrame, name: str) -> pd.Series:
    try:
        return table[name].astype(float)
    except ValueError as error:
        raise LawError(f"column {name!r}: {error}. It must hold numbers, or nothing where none was measured.") from None
