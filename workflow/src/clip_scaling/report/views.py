"""Views of the tidy metrics table and of law files, as the figures and the page need them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from ..errors import LawError
from ..records.laws import FittedLaw, LawFile
from ..records.metrics import to_error

COLUMNS = ("cell", "model", "data", "unique_pairs", "samples_seen", "seed", "gmacs_per_sample", "compute_gmacs")


def points_of(metrics: pd.DataFrame, dataset: str, metric: str) -> pd.DataFrame:
    """Rows of one target with a column `error` (fraction, or nats for a loss), in order of compute.

    LawError where the table has no measurement of the target.
    """
    rows = metrics[(metrics["dataset"] == dataset) & (metrics["metric"] == metric)].dropna(subset=["value"])
    if rows.empty:
        raise LawError(f"tables/metrics: no value of {dataset} {metric}. Name a target that the study evaluates.")
    return rows.assign(error=to_error(metric, rows["value"])).sort_values("compute_gmacs", kind="stable")


def cells_of(metrics: pd.DataFrame) -> pd.DataFrame:
    """One row a cell and source: the columns that do not depend on the target, in the table's order."""
    return metrics[[*COLUMNS, "source"]].drop_duplicates(["source", "cell"]).reset_index(drop=True)


def names_by_size(cells: pd.DataFrame, name: str, size: str) -> list[str]:
    """Distinct values of column `name`, sources in the table's order, within a source by the least `size`."""
    order = {source: i for i, source in enumerate(cells["source"].unique())}
    ranked = cells.assign(rank=cells["source"].map(order)).sort_values(["rank", size, name], kind="stable")
    return list(ranked[name].unique())


def budgets_of(samples_seen: pd.Series) -> list[float]:
    """Representative budgets, ascending: runs within a factor 1.4 of their neighbour are one budget (its median).

    Runs of one nominal budget differ a little in samples really seen (by up to 14 % in the released tables).
    """
    values = np.sort(samples_seen.unique().astype(float))
    groups = np.split(values, np.flatnonzero(np.diff(np.log(values)) > np.log(1.4)) + 1)
    return [float(np.median(group)) for group in groups]


def headline_fits(law: LawFile, methods: Mapping[str, str]) -> list[FittedLaw]:
    """One fit a source: by the method named for it, else by the first that is a law of compute alone, or none at all.

    methods: method by source; LawError for one that is of several factors. Methods stand in the law file in the order
    in which the study names them.
    """
    first: dict[str, FittedLaw] = {}
    for fit in law.fits:
        named = methods.get(fit.source)
        if fit.method != named if named else not _is_of_compute(fit):
            continue
        if not _is_of_compute(fit):
            raise LawError(
                f"laws.headline: {named} ({fit.source}) is no law of compute alone, and figures draw error against "
                "compute. Choose another method, such as binned-min-5 or ols-all."
            )
        first.setdefault(fit.source, fit)
    return list(first.values())


def _is_of_compute(fit: FittedLaw) -> bool:
    """A law with one exponent, of compute, or no law at all."""
    return not fit.is_law or (fit.alpha is not None and bool(fit.curve))
