"""A user's own table as a tidy table: column names, units, numbers and repeats as its owner has them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from ...errors import LawError
from ...records.metrics import from_error, is_loss
from .cells import MISSING, Style, numbers
from .repeats import reduce_sweeps, refuse_repeats, refuse_twins
from .units import PASSES, UNITS, factor

COLUMNS = (
    "cell", "model", "data", "seed", "source", "dataset", "metric", "value", "error", "n", "chance",
    "compute_gmacs", "gmacs_per_sample", "samples_seen", "unique_pairs",
)  # fmt: skip
DERIVED = {
    "samples_seen": ("compute_gmacs", "gmacs_per_sample"),
    "gmacs_per_sample": ("compute_gmacs", "samples_seen"),
}
"""Columns that are made on request, and what they are the ratio of."""
LOSSES = {
    "loss", "nll", "nats", "ce", "xent", "cross_entropy", "crossentropy", "perplexity", "ppl", "bpb", "bpc", "bpd",
    "bits_per_byte", "bits_per_character", "bits_per_token", "mse", "rmse", "mae", "fid", "kl", "wer", "cer",
}  # fmt: skip
_CONTRADICTION = 1.1  # A compute that is further off size x samples in every run has another unit.
_ALIKE = 1.25  # Ratios within this factor are one constant: counts are rounded, and formulas neglect small terms.


@dataclass(frozen=True)
class Reading:
    """How a table is to be read beyond its names. unit, passes: of compute and compute per sample, unless `units` says.

    units: by our column, see `units.factor`. decimal: "." or ",", else as the cells show. sweep: `best` or `all`.
    derive: columns of DERIVED to make. loss: the metric is itself an error.
    """

    unit: str = "GMAC"
    passes: str = "forward"
    units: Mapping[str, str] = field(default_factory=dict)
    decimal: str = ""
    sweep: str = ""
    derive: tuple[str, ...] = ()
    loss: bool = False


def loss_name(metric: str, loss: bool) -> str:
    """The metric under a name that says that it is a loss."""
    return metric if is_loss(metric) or not loss else f"{metric}_loss"


def tidy_table(
    table: pd.DataFrame,
    columns: Mapping[str, str],
    target: str,
    metric: str,
    *,
    unit: str = "GMAC",
    passes: str = "forward",
    reading: Reading | None = None,
) -> pd.DataFrame:
    """The table under the project's column names, compute in forward GMAC.

    columns: our name (of COLUMNS) -> theirs; a column of ours that the table has needs no entry. `error` may stand for
    `value`. Without `dataset` or `metric` all rows are of this target and metric; without `cell` runs are numbered;
    without compute it is gmacs_per_sample x samples_seen. `attrs` of the result: `notes`, what was done to the rows;
    `has_names`, whether cells were not numbered.
    LawError where columns are missing, contradict each other, or hold cells that are no certain numbers.
    """
    how = reading or Reading(unit, passes)
    table = table if table.index.is_unique else table.reset_index(drop=True)
    _check_columns(table, columns, metric, how.loss)
    tidy = table.assign(**{ours: table[theirs] for ours, theirs in columns.items()})
    theirs_of = {name: columns.get(name, name) for name in COLUMNS}
    _measure(tidy, theirs_of, how)
    notes = _complete(tidy, theirs_of, how)
    name = loss_name(metric, how.loss)
    _value(tidy, name, theirs_of)
    _need(table, tidy, columns)
    _agree(tidy, theirs_of)
    tidy["dataset"] = tidy["dataset"].astype(str).str.strip() if "dataset" in tidy else target
    tidy["metric"] = tidy["metric"].astype(str).str.strip().replace(metric, name) if "metric" in tidy else name
    asked = (tidy["dataset"] == target) & (tidy["metric"] == name)
    refuse_repeats(table[asked.to_numpy()])
    tidy, note = reduce_sweeps(tidy, asked, table, columns, how.sweep)
    asked = asked[tidy.index]
    has_names = "cell" in tidy
    if has_names:
        refuse_twins(tidy, asked)
    else:
        place = tidy.index.name or "row"
        labels = tidy.index if tidy.index.name else range(1, len(tidy) + 1)
        tidy["cell"] = [f"{place} {label}" for label in labels]
    tidy.attrs |= {"notes": [*notes, *([note] if note else [])], "has_names": has_names}
    return tidy


def tidy_candidates(table: pd.DataFrame, columns: Mapping[str, str], reading: Reading) -> pd.DataFrame:
    """Candidate cells under the project's names and units: gmacs_per_sample, samples_seen (, unique_pairs, model)."""
    columns = {ours: theirs for ours, theirs in columns.items() if theirs in table}
    tidy = table.assign(**{ours: table[theirs] for ours, theirs in columns.items()})
    theirs_of = {name: columns.get(name, name) for name in COLUMNS}
    _measure(tidy, theirs_of, reading)
    _complete(tidy, theirs_of, reading)
    missing = [name for name in ("gmacs_per_sample", "samples_seen") if name not in tidy]
    if missing:
        raise LawError(
            f"candidates: no column {', '.join(missing)}; the table has {', '.join(map(str, table.columns))}",
            remedy=f"Name it: --column {missing[0]}=YOURS, which is of both tables.",
        )
    return tidy


def _check_columns(table: pd.DataFrame, columns: Mapping[str, str], metric: str, loss: bool) -> None:
    names = ", ".join(map(str, table.columns))
    for ours, theirs in columns.items():
        if ours not in COLUMNS:
            raise LawError(f"--column {ours}={theirs}: {ours!r} is none of {', '.join(COLUMNS)}.")
        if theirs not in table:
            raise LawError(f"--column {ours}={theirs}: the table has {names}.")
        if f"{theirs} (2)" in table:
            raise LawError(f"--column {ours}={theirs}: the table has that column twice", remedy="Rename one of them.")
    if {"value", "error"} <= columns.keys():
        raise LawError("--column value=... and --column error=...: one is 1 - the other", remedy="Give one of them.")
    called = [name for name in (metric, columns.get("value", ""), columns.get("error", "")) if _is_called_loss(name)]
    if called and not loss and not is_loss(metric):
        raise LawError(
            f"metric: {metric!r} is taken for an accuracy, of which the law is of 1 - value; {called[0]!r} is a loss",
            remedy="Add --loss, or a --metric whose name ends in loss: it is then fitted as it is.",
        )


def _is_called_loss(name: str) -> bool:
    plain = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    return plain in LOSSES or plain.endswith("loss") or any(plain.endswith(f"_{word}") for word in LOSSES)


def _measure(tidy: pd.DataFrame, theirs_of: Mapping[str, str], how: Reading) -> None:
    """Turn the columns that hold numbers into floats in our units."""
    mapped = [name for name in COLUMNS if name in tidy]
    texts = [tidy[name] for name in mapped if not pd.api.types.is_numeric_dtype(tidy[name])]
    style = Style.of((str(cell) for column in texts for cell in column.dropna()), how.decimal)
    if tidy.attrs.get("separator") == ";" and not style.points:
        style = replace(style, commas=True)  # Tables are separated so where the comma is the decimal mark.
    for name in tidy.columns.difference(COLUMNS, sort=False):
        if tidy[name].dtype == object:
            plain = pd.to_numeric(tidy[name], errors="coerce")
            blank = tidy[name].isna() | tidy[name].astype(str).str.strip().str.lower().isin(MISSING)
            tidy[name] = plain if (plain.notna() | blank).all() else tidy[name]
    for name in mapped:
        unit = how.units.get(name, "")
        if name in ("compute_gmacs", "gmacs_per_sample"):
            by = factor(name, unit) if unit else UNITS[how.unit] * PASSES[how.passes]
            kind = "count" if unit or how.unit != "GMAC" else "number"  # 13B GMAC is nobody's model.
            tidy[name] = by * numbers(tidy[name], theirs_of[name], kind, style)
        elif name in ("samples_seen", "unique_pairs", "n"):
            tidy[name] = _times(name, unit) * numbers(tidy[name], theirs_of[name], "count", style)
        elif name in ("value", "error", "chance"):
            tidy[name] = _times(name, unit) * numbers(tidy[name], theirs_of[name], "value", style)
        elif name == "seed":
            tidy[name] = _labels(tidy[name])


def _times(name: str, unit: str) -> float:
    return factor(name, unit) if unit else 1.0


def _labels(column: pd.Series) -> pd.Series:
    """Numbers as they are; texts and dates numbered in order, for a seed only tells runs apart."""
    found = pd.to_numeric(column, errors="coerce")
    blank = column.isna() | (column.astype(str).str.strip() == "")
    if found[~blank].notna().all():
        return found.astype(float)
    codes = pd.Series(pd.factorize(column.astype(str))[0], index=column.index, dtype=float)
    return codes.mask(blank)


def _complete(tidy: pd.DataFrame, theirs_of: Mapping[str, str], how: Reading) -> list[str]:
    """Make the columns that are asked for, and compute where it is not given. Returns what was done."""
    notes = []
    for name in how.derive:
        above, below = DERIVED[name]
        missing = [theirs_of[part] for part in (above, below) if part not in tidy]
        if missing:
            raise LawError(
                f"--derive {name}: it is {above} / {below}, and the table has no {' and no '.join(missing)}",
                remedy="Name them by --column.",
            )
        ratio = tidy[above] / tidy[below]
        made = tidy[name].isna() if name in tidy else pd.Series(True, index=tidy.index)
        tidy[name] = tidy[name].where(~made, ratio) if name in tidy else ratio
        notes.append(f"{name} of {int(made.sum())} runs is {above} / {below}")
    if {"gmacs_per_sample", "samples_seen"} <= set(tidy):
        product = tidy["gmacs_per_sample"] * tidy["samples_seen"]
        tidy["compute_gmacs"] = tidy["compute_gmacs"].fillna(product) if "compute_gmacs" in tidy else product
    return notes


def _value(tidy: pd.DataFrame, metric: str, theirs_of: Mapping[str, str]) -> None:
    """`value` from `error`, where the latter is what was mapped or all that is there."""
    if "error" in tidy and (theirs_of["error"] != "error" or "value" not in tidy) and theirs_of["value"] == "value":
        tidy["value"] = from_error(metric, tidy["error"])


def _need(table: pd.DataFrame, tidy: pd.DataFrame, columns: Mapping[str, str]) -> None:
    missing = [name for name in ("compute_gmacs", "value") if name not in tidy]
    if missing:
        raise LawError(
            f"the table has no column {', '.join(map(repr, missing))}. It has {', '.join(map(str, table.columns))}",
            remedy=f"Say which serves: {' '.join(f'--column {name}=YOURS' for name in missing)}.",
        )


def _agree(tidy: pd.DataFrame, theirs_of: Mapping[str, str]) -> None:
    """LawError where compute differs from size x samples by a constant factor: one of them has another unit."""
    if not {"compute_gmacs", "gmacs_per_sample", "samples_seen"} <= set(tidy):
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (tidy["compute_gmacs"] / (tidy["gmacs_per_sample"] * tidy["samples_seen"])).to_numpy(float)
    ratio = ratio[np.isfinite(ratio) & (ratio > 0)]
    if not len(ratio):
        return
    middle = float(np.median(ratio))
    alike = np.mean(np.maximum(ratio / middle, middle / ratio) < _ALIKE) > 0.9
    off = max(middle, 1 / middle)
    tight = np.mean(np.maximum(ratio / middle, middle / ratio) < 1.02) > 0.9
    if alike and off > (_CONTRADICTION if tight else 2 - 1e-9):
        compute, size, samples = (
            repr(theirs_of[name]) for name in ("compute_gmacs", "gmacs_per_sample", "samples_seen")
        )
        raise LawError(
            f"compute ({compute}) is {middle:.3g} x model size ({size}) x samples ({samples}) in {len(ratio)} rows: "
            "their units contradict each other",
            remedy="Give each its own, such as --unit compute_gmacs=FLOP/total --unit gmacs_per_sample=MAC. A table of "
            f"parameters and tokens is given by --parameters {size} --tokens {samples}.",
        )
