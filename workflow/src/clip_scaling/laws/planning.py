"""What to train next, as a law file and the command line state it: compute-optimal allocation, and the next cell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..records.laws import NextCell, Optimum
from .allocate import budgets_of, compute_optimal, open_terms
from .design import candidate_cells, next_cells
from .fits import FEWEST_FOR_BOOTSTRAP, fit_runs
from .isoflop import SAME_COMPUTE, isoflop_exponent, isoflop_optima, slice_optima
from .methods import CHINCHILLA_OLS, Method, find_method
from .runs import Runs, UnfitPoints

DRAWS = 200
LISTED = 10  # Next cells that a law file keeps.
ALLOCATION_COLUMNS = (
    "method", "unique_pairs", "compute_gmacs", "models", "gmacs", "gmacs_low", "gmacs_high", "samples", "samples_low",
    "samples_high", "error", "verdict",
)  # fmt: skip


def allocation_method(runs: Runs) -> Method:
    """The parametric form to allocate by: L(N, D), with a term of unique pairs where these differ."""
    known = np.isfinite(runs.unique).all() and len(np.unique(runs.unique)) > 1
    additive = find_method("additive")
    # Where unique pairs follow from the samples, as in single passes over the data, they have no term of their own.
    return additive if known and not open_terms(runs, additive) else CHINCHILLA_OLS


def allocation(
    runs: Runs,
    budgets: Sequence[float] | None = None,
    method: Method | None = None,
    unique: float | None = None,
    draws: int = DRAWS,
) -> pd.DataFrame:
    """Model size and samples seen of least error at each budget (GMAC): by the parametric form, by isoFLOP parabolas.

    unique: distinct pairs, by default the most of the grid. Returns ALLOCATION_COLUMNS; method `isoflop` has a row for
    each budget at which three models can be compared. Numbers are NaN where there is no optimum, or none that draws
    bound, and `verdict` says so. UnfitPoints where the form cannot be fitted.
    """
    # Parabolas have few budgets with three models: look closely.
    close = budgets_of(runs, 10) if budgets is None else budgets
    budgets = budgets_of(runs, 3) if budgets is None else budgets
    method = method or allocation_method(runs)
    if unique is None and np.isfinite(runs.unique).all():
        unique = float(runs.unique.max())
    parametric = compute_optimal(runs, method, budgets, unique, draws=draws).assign(method=method.name)
    isoflop = isoflop_optima(runs, close, draws=draws).assign(method="isoflop")
    parts = [part for part in (parametric, isoflop) if len(part)]
    rows = pd.concat(parts, ignore_index=True).assign(unique_pairs=unique)
    rows["verdict"] = [_verdict(row, runs) for row in rows.to_dict("records")]
    return rows.reindex(columns=list(ALLOCATION_COLUMNS))


def allocation_of_table(
    runs: Runs, budgets: Sequence[float] | None = None, method: Method | None = None, unique: float | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """`allocation`, with parabolas also at the computes where three models were trained, and what else there is to say.

    Where the form cannot be fitted, or leaves model and samples open, the parabolas are left. UnfitPoints where there
    are none either.
    """
    notes: list[str] = []
    try:
        rows = allocation(runs, budgets, method, unique)
    except UnfitPoints as reason:
        rows, why = pd.DataFrame(columns=list(ALLOCATION_COLUMNS)), reason
        notes.append(str(reason))
    minima = slice_optima(runs, draws=DRAWS).assign(method="isoflop", unique_pairs=unique)
    minima["verdict"] = [_verdict(row, runs) for row in minima.to_dict("records")]
    there = rows.loc[rows["method"] == "isoflop", "compute_gmacs"]
    asked = [row for row in minima.to_dict("records") if _near(row["compute_gmacs"], budgets) and not (
        len(there) and _near(row["compute_gmacs"], there.tolist()))]  # fmt: skip
    if not len(rows) and not asked:
        raise UnfitPoints(why.thing, place=why.place, remedy=why.remedy.replace(", or fit ols-all", ""))
    if asked:
        rows = pd.DataFrame([*rows.to_dict("records"), *asked], columns=list(ALLOCATION_COLUMNS))
    if not (rows["method"] == "isoflop").any():
        notes.append(_no_parabola(minima))
    inside = minima[minima["gmacs"].notna()]
    if len(inside) > 2:
        slope, low, high = isoflop_exponent(inside)
        ends = f"95 %: {low:.3f} to {high:.3f}, {len(inside)} computes"
        notes.append(f"isoflop: the best size grows as C^{slope:.3f} ({ends})")
    return rows, notes


def _near(compute: float, budgets: Sequence[float] | None) -> bool:
    return budgets is None or any(1 / SAME_COMPUTE <= compute / budget <= SAME_COMPUTE for budget in budgets)


def _no_parabola(minima: pd.DataFrame) -> str:
    if len(minima):
        low, high = minima["compute_gmacs"].min(), minima["compute_gmacs"].max()
        places = f"{len(minima)} computes from {low:.3g} to {high:.3g} GMAC"
        return f"isoflop: no parabola at these budgets; three models were trained at {places}"
    return "isoflop: no parabola, for no three models were trained at one compute (within 10 %) or around a budget"


def _verdict(row: Mapping[str, Any], runs: Runs) -> str:
    """`optimum`, or a reservation: an optimum that no model or budget near it was trained at is an extrapolation."""
    if not np.isfinite(row["gmacs"]):
        return "no optimum among the models looked at"
    beyond = [
        f"{name} ({values.min():.3g} to {values.max():.3g})"
        for name, value, values in (("models", row["gmacs"], runs.gmacs), ("samples", row["samples"], runs.samples))
        if not values.min() <= value <= values.max()
    ]
    verdict = f"optimum, beyond the measured {' and '.join(beyond)}" if beyond else "optimum"
    return verdict if np.isfinite(row["gmacs_low"]) else f"{verdict}, not bounded by redrawn grids"


def design_law_method(runs: Runs) -> Method:
    """The law of all points that candidates are ranked by: log-linear where the grid separates its factors."""
    method = find_method("loglinear")
    try:
        fit_runs(runs, method, draws=0, intervals=False)
    except UnfitPoints:
        return find_method("ols-all")
    return method


def ranked_cells(
    runs: Runs,
    candidates: pd.DataFrame | None = None,
    method: Method | None = None,
    parameter: str | None = "alpha",
    at: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Candidate cells by what each buys: columns of the candidates, then those of `next_cells`, and method.

    candidates: by default the cells that the grid lacks, and a step beyond it.
    """
    method = method or design_law_method(runs)
    law = fit_runs(runs, method, draws=0, intervals=False)
    candidates = candidate_cells(runs) if candidates is None else candidates
    return next_cells(law, candidates, parameter=parameter, at=at).assign(method=method.name)


def optima(runs: Runs) -> list[Optimum]:
    """The allocation of one distribution, as a law file holds it; empty where its runs cannot say."""
    return [Optimum(source=runs.source, **row) for row in _rows_of(allocation, runs)]


def best_next_cells(runs: Runs) -> list[NextCell]:
    """The best candidates of one distribution, as a law file holds them; empty where its runs cannot say."""
    return [NextCell(source=runs.source, **row) for row in _rows_of(ranked_cells, runs)[:LISTED]]


def _rows_of(ask: Callable[[Runs], pd.DataFrame], runs: Runs) -> list[dict[str, Any]]:
    if len(runs) < FEWEST_FOR_BOOTSTRAP:
        return []
    try:
        rows = ask(runs)
    except UnfitPoints:  # a grid of one model has no allocation, and a table without GMACs no candidates
        return []
    return [_plain(row) for row in rows.to_dict("records")]


def _plain(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not np.isfinite(v) else v for k, v in row.items()}
