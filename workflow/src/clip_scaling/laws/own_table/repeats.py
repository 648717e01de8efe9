"""Rows of a user's table that are one run: copies are refused, sweeps of hyper-parameters reduced to their best run."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pandas as pd

from ...errors import LawError
from ...records.metrics import to_error

TUNED = set(
    """
    lr max_lr lr_max peak_lr base_lr lr_peak learning_rate max_learning_rate peak_learning_rate wd weight_decay bs batch
    batch_size global_batch_size bsz warmup warm_up warmup_steps warmup_ratio warmup_tokens beta1 beta2 adam_beta1
    adam_beta2 adam_b1 adam_b2 eps adam_eps momentum dropout optimizer schedule lr_schedule scheduler grad_clip
    clip_grad label_smoothing hparams hyperparameters sweep trial
    """.split()
)
"""Names of columns that tell the runs of a sweep apart, in lower case with underscores."""
_RUN = ("model", "data", "seed", "source", "compute_gmacs", "gmacs_per_sample", "samples_seen", "unique_pairs")
_MEASURED = ("value", "error", "n", "chance")


def refuse_repeats(table: pd.DataFrame) -> None:
    """LawError where a row is equal to an earlier one in all columns, with the lines of both."""
    plain = table.astype(str).apply(lambda column: column.str.strip())
    again = plain.duplicated().to_numpy()
    if again.any():
        at = int(again.argmax())
        first = int((plain == plain.iloc[at]).all(axis=1).to_numpy().argmax())
        place = table.index.name or "row"
        labels = table.index if table.index.name else pd.RangeIndex(1, len(table) + 1)
        raise LawError(
            f"{place} {labels[at]} repeats {place} {labels[first]}: they are equal in all columns",
            remedy="Keep one row a run.",
        )


def reduce_sweeps(
    tidy: pd.DataFrame, asked: pd.Series, table: pd.DataFrame, columns: Mapping[str, str], rule: str
) -> tuple[pd.DataFrame, str]:
    """Keep the best run of each cell whose runs differ in tuned hyper-parameters alone. Returns the rows, and a note.

    tidy: under our names; asked: mask of the target's rows; table: as it was read. rule: `best`, `all`, or "" for best
    where nothing else differs. LawError (a question) where other columns differ as well, and no rule is given.
    """
    theirs = {name for ours, name in columns.items() if ours not in _MEASURED}
    tuned = [name for name in table if _plain(name) in TUNED and name not in theirs]
    if not tuned or rule == "all":
        return tidy, ""
    rows = tidy[asked & tidy["value"].notna()]
    groups = _cells(rows, tuned, _others(table, columns, tuned), rule)
    errors = {key: to_error(str(rows["metric"].iloc[0]), rows.loc[labels, "value"]) for key, labels in groups.items()}
    left = [
        label for key, labels in groups.items() for at, label in enumerate(labels) if at != int(errors[key].argmin())
    ]
    if not left:
        return tidy, ""
    differ = [name for name in tuned if any(rows.loc[group, name].nunique() > 1 for group in groups.values())]
    note = (
        f"sweep: {len(groups)} cells have runs that differ in {', '.join(differ)}; the best run of each is kept, "
        f"{len(left)} are left out (--sweep all takes each as a run)"
    )
    return tidy.drop(index=left), note


def _others(table: pd.DataFrame, columns: Mapping[str, str], tuned: list[str]) -> list[str]:
    """Columns that are neither measured nor tuned, nor under one of our names."""
    known = {*columns.values(), *(columns.get(name, name) for name in (*_MEASURED, *_RUN, "cell", "dataset", "metric"))}
    return [name for name in table if name not in known and name not in tuned]


def _cells(rows: pd.DataFrame, tuned: list[str], others: list[str], rule: str) -> dict[object, pd.Index]:
    """Labels of the rows of each cell with a sweep."""
    if "cell" in rows:
        return _groups(rows, [name for name in ("cell", "dataset", "metric", "source") if name in rows], tuned)
    known = [name for name in ("dataset", "metric", *_RUN) if name in rows]
    sure = _groups(rows, [*known, *others], tuned)
    says_what_ran = bool({"model", "gmacs_per_sample"} & set(known)) and "samples_seen" in known
    doubtful = _groups(rows, known, tuned) if says_what_ran else {}
    if rule and doubtful:
        return doubtful
    if doubtful and not sure:
        differ = [name for name in others if any(rows.loc[at, name].nunique() > 1 for at in doubtful.values())]
        raise LawError(
            f"{len(doubtful)} cells have runs that differ in {', '.join([*tuned, *differ])}",
            remedy="Say what they are: --sweep best keeps the best run of each cell, --sweep all takes each as a run.",
        )
    return sure


def _groups(rows: pd.DataFrame, keys: list[str], tuned: list[str]) -> dict[object, pd.Index]:
    """Labels of the rows of each cell that has several, of different hyper-parameters."""
    if not keys:
        return {}
    found = rows.groupby(keys, dropna=False, sort=False).groups
    return {
        key: labels
        for key, labels in found.items()
        if len(labels) > 1 and len(rows.loc[labels, tuned].astype(str).drop_duplicates()) == len(labels)
    }


def _plain(name: object) -> str:
    return re.sub(r"[^a-z0-9]+", "_", str(name).lower()).strip("_")


def refuse_twins(tidy: pd.DataFrame, asked: pd.Series) -> None:
    """LawError where a cell has two rows of one target and source, with the lines of both."""
    rows = tidy[asked & tidy["value"].notna()]
    rows = rows[rows["state"].astype(str) != "diverged"] if "state" in rows else rows
    keys = [name for name in ("cell", "source") if name in rows]
    again = rows.duplicated(keys).to_numpy()
    if again.any():
        cell = rows["cell"].iloc[int(again.argmax())]
        labels = rows.index[rows["cell"] == cell] + (0 if rows.index.name else 1)
        raise LawError(
            f"{cell} is in the table {len(labels)} times ({rows.index.name or 'row'} {' and '.join(map(str, labels))})",
            remedy="Keep one row a run, or leave out --column cell=...",
        )
