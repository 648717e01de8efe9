"""The tidy table of measurements, and the runs of one target in it as arrays that a law is fitted to."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..errors import LawError
from ..records.metrics import is_loss, to_error

REQUIRED = ("cell", "compute_gmacs", "dataset", "metric", "value")
FACTORS = ("gmacs_per_sample", "samples_seen", "unique_pairs")


class UnfitPoints(LawError):
    """The table is sound, but these points carry no law: too few, all equal, or without a logarithm."""


@dataclass(frozen=True)
class Runs:
    """What was measured on one target by one source. All arrays are (n,), sorted by compute, then cell.

    compute: GMAC (forward, both towers, over all samples seen); error: fraction in (0, 1), or nats for a loss.
    gmacs: GMAC per sample; samples: samples seen; unique: distinct pairs. NaN where the table has no such column.
    tests: size of the evaluation set, NaN where it is not given.
    n_saturated, n_diverged: runs of the table that are left out, with an error of exactly 0 or 1, or since training
    diverged.
    """

    target: str
    metric: str
    source: str
    cell: np.ndarray
    model: np.ndarray
    data: np.ndarray
    seed: np.ndarray
    compute: np.ndarray
    error: np.ndarray
    gmacs: np.ndarray
    samples: np.ndarray
    unique: np.ndarray
    tests: np.ndarray
    n_saturated: int = 0
    n_diverged: int = 0

    def __len__(self) -> int:
        return len(self.cell)

    @property
    def place(self) -> str:
        """What errors call these runs: target, metric and source."""
        return place_of(self.target, self.metric, self.source)

    @property
    def log_compute(self) -> np.ndarray:
        """log10 of GMAC."""
        return np.log10(self.compute)

    @property
    def log_error(self) -> np.ndarray:
        """log10 of the error."""
        return np.log10(self.error)

    def take(self, rows: np.ndarray) -> Runs:
        """The runs at these indices, or where this mask is true."""
        names = ("cell", "model", "data", "seed", "compute", "error", "gmacs", "samples", "unique", "tests")
        return replace(self, **{name: getattr(self, name)[rows] for name in names})


def place_of(target: str, metric: str, source: str) -> str:
    """Target, metric and source in one phrase."""
    return f"{target} {metric}" + (f" ({source})" if source else "")


def sources(table: pd.DataFrame, target: str, metric: str) -> list[str]:
    """The sources that measured this target, in the table's order; `[""]` where the table has no such column."""
    if "source" not in table:
        return [""]
    rows = (table["dataset"] == target) & (table["metric"] == metric) & table["value"].notna()
    return list(dict.fromkeys(table.loc[rows, "source"].astype(str)))


def select_runs(
    table: pd.DataFrame,
    target: str,
    metric: str,
    source: str | None = None,
    *,
    drop_saturated: bool = False,
) -> Runs:
    """The runs of one target in a tidy table (columns of docs/design.md).

    source: a value of the column `source`; None where the target has one source only.
    A row without a value is left out, and so is one whose column `state` says "diverged": no law is one of failures.
    drop_saturated: leave out runs whose error is exactly 0 or 1 (none wrong, none right), instead of refusing them: a
    test that is all solved or not begun measures no law. Both are counted. Where the table has a column `chance`, the
    accuracy of guessing, a run that is not above it (with column `n`: not significantly, at 95 %) has not begun either.
    Raises LawError for a table that is not sound (missing columns, unknown target, duplicate runs, compute that is not
    positive) and UnfitPoints for errors outside (0, 1).
    """
    _need_columns(table, REQUIRED)
    _need_value("target", target, table["dataset"])
    rows = table[table["dataset"] == target]
    _need_value(f"metric of {target}", metric, rows["metric"])
    rows = rows[(rows["metric"] == metric) & rows["value"].notna()]
    found = sources(table, target, metric)
    if source is None:
        if len(found) > 1:
            raise LawError(f"{target} {metric}: runs of {len(found)} sources ({', '.join(found)}). Choose one of them.")
        source = found[0] if found else ""
    elif source:
        _need_columns(table, ["source"])
        _need_value(f"source of {target} {metric}", source, rows["source"])
    if "source" in table:
        rows = rows[rows["source"].astype(str) == source]
    place = place_of(target, metric, source)
    diverged = rows["state"].astype(str) == "diverged" if "state" in rows else pd.Series(False, index=rows.index)
    rows = rows[~diverged]
    saturated = _saturated(rows, metric) if drop_saturated else np.zeros(len(rows), dtype=bool)
    rows = rows[~saturated]
    _check(rows, metric, place)
    rows = rows.sort_values(["compute_gmacs", "cell"], kind="stable")
    return Runs(
        target,
        metric,
        source,
        cell=rows["cell"].astype(str).to_numpy(object),
        model=_texts(rows, "model"),
        data=_texts(rows, "data"),
        seed=_seeds(rows),
        compute=rows["compute_gmacs"].to_numpy(float),
        error=to_error(metric, rows["value"].to_numpy(float)),
        gmacs=_numbers(rows, "gmacs_per_sample"),
        samples=_numbers(rows, "samples_seen"),
        unique=_numbers(rows, "unique_pairs"),
        tests=_numbers(rows, "n"),
        n_saturated=int(saturated.sum()),
        n_diverged=int(diverged.sum()),
    )


def _saturated(rows: pd.DataFrame, metric: str) -> np.ndarray:
    """Mask of the rows whose error is exactly 0 or 1, or that of guessing; none for a loss, which has no such ends."""
    error = to_error(metric, _numbers(rows, "value"))
    return np.zeros(len(rows), dtype=bool) if is_loss(metric) else (error == 0) | (error == 1) | _guesses(rows, metric)


def _guesses(rows: pd.DataFrame, metric: str) -> np.ndarray:
    """Mask of the rows that are not above chance, within the noise of their test set where its size is given."""
    if "chance" not in rows or is_loss(metric):
        return np.zeros(len(rows), dtype=bool)
    chance = _numbers(rows, "chance")
    noise = 1.645 * np.sqrt(chance * (1 - chance) / _numbers(rows, "n"))
    return _numbers(rows, "value") <= chance + np.nan_to_num(noise)


def _check(rows: pd.DataFrame, metric: str, place: str) -> None:
    repeated = rows["cell"][rows["cell"].duplicated()]
    if len(repeated):
        raise LawError(
            f"{place}: {repeated.iloc[0]} is in the table {(rows['cell'] == repeated.iloc[0]).sum()} times. "
            "Keep one row a run."
        )
    compute = _numbers(rows, "compute_gmacs")
    bad = ~(np.isfinite(compute) & (compute > 0))
    if bad.any():
        raise LawError(
            f"{place}: compute of {rows['cell'].iloc[bad.argmax()]} is {compute[bad.argmax()]:g} GMAC. "
            "It must be positive; drop or correct the row."
        )
    error = to_error(metric, _numbers(rows, "value"))
    top = np.inf if is_loss(metric) else 1.0
    bad = ~((error > 0) & (error < top))
    if bad.any():
        value, wrong = rows["value"].iloc[bad.argmax()], error[bad.argmax()]
        if not is_loss(metric) and value > 1:
            advice = (
                "It looks like a percentage; divide by 100 (--unit value=%). A loss is fitted as it is: its metric's "
                "name ends in loss (--loss)."
            )
        elif not is_loss(metric) and wrong in (0, 1):
            advice = "Such a run is saturated: drop it (--drop-saturated, or drop_saturated=True)."
        else:
            advice = "Correct or drop the row."
        raise UnfitPoints(
            f"{place}: error {wrong:g} (value {value:g}) of {rows['cell'].iloc[bad.argmax()]} is outside "
            f"(0, {'inf' if is_loss(metric) else '1'}) and has no place on a log axis. {advice}"
        )
    guesses = _guesses(rows, metric)
    if guesses.any():
        row = rows.iloc[guesses.argmax()]
        raise UnfitPoints(
            f"{place}: value {row['value']:g} of {row['cell']} is not above chance ({row['chance']:g})",
            remedy="Such a run has not begun to learn: drop it (--drop-saturated, or drop_saturated=True).",
        )


def _need_columns(table: pd.DataFrame, names: Iterable[str]) -> None:
    missing = [name for name in names if name not in table]
    if missing:
        raise LawError(
            f"the table has no column {', '.join(map(repr, missing))}. It has {', '.join(map(str, table.columns))}."
        )


def _need_value(what: str, value: str, column: pd.Series) -> None:
    known = list(dict.fromkeys(column.astype(str)))
    if not known:
        raise LawError(f"{what}: the table has no rows")
    if value not in known:
        close = difflib.get_close_matches(value, known, n=3) or known[:8]
        raise LawError(f"{what}: {value!r} is not in the table. Did you mean {', '.join(close)}?")


def _texts(rows: pd.DataFrame, name: str) -> np.ndarray:
    return (rows[name].astype(str) if name in rows else pd.Series("", index=rows.index)).to_numpy(object)


def _numbers(rows: pd.DataFrame, name: str) -> np.ndarray:
    if name not in rows:
        return np.full(len(rows), np.nan)
    try:
        return rows[name].to_numpy(float)
    except (ValueError, TypeError) as error:
        raise LawError(f"column {name!r}: {error}", remedy="It must hold numbers.") from None


def _seeds(rows: pd.DataFrame) -> np.ndarray:
    """Seeds, numbered in order where they are texts: they only tell runs apart."""
    seeds = rows["seed"] if "seed" in rows else pd.Series(np.nan, index=rows.index)
    return seeds.to_numpy(float) if pd.api.types.is_numeric_dtype(seeds) else pd.factorize(seeds)[0].astype(float)
