"""Forecasts of runs: frozen before they are run, and judged after them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from scipy import stats

from ..errors import LawError
from ..records.forecast import Forecast, ForecastCell, ForecastPoint
from ..records.provenance import code
from .choice import best_by_holdout
from .fits import Fit, fit_runs
from .holdout import LEVEL, best_cells, predict_runs, rolling_holdout
from .methods import Method, find_method
from .runs import Runs, UnfitPoints

DEFAULT = "ols-all"
"""The method that the hold-out is asked to better."""
SAME = 1e-6
"""Runs are one where model size, samples and pairs differ by no more than this share."""
FACTORS = {"gmacs": "gmacs_per_sample", "samples": "samples_seen", "unique": "unique_pairs"}
"""Factors of a law by the column that holds them."""


def forecast_cells(runs: Runs, cells: pd.DataFrame, method: Method | None = None) -> Forecast:
    """Freeze predictions of cells that are not in the grid yet.

    runs: what has been measured. cells: gmacs_per_sample, samples_seen, and unique_pairs where the form reads them;
    cell and model where they have names. method: None lets the hold-out choose. LawError where one of the cells has
    been measured, and where the law cannot predict them; UnfitPoints where the runs carry no law.
    """
    known = {name: cells[name].to_numpy(float) for name in FACTORS.values() if name in cells}
    places = [dict(zip(known, row, strict=True)) for row in zip(*known.values(), strict=True)]
    names = cells["cell"].astype(str).tolist() if "cell" in cells else [""] * len(cells)
    for name, place in zip(names, places, strict=True):
        found = _measured(runs, name, place)
        if len(found):
            raise LawError(
                f"{runs.place}: {runs.cell[found[0]]} has been measured, and a forecast is made before the run",
                remedy="Take it out of the cells, or judge by a replay: --without MODEL or --beyond COMPUTE.",
            )
    fit, is_chosen = _fitted(runs, method)
    factors = {factor: known.get(column, np.full(len(cells), np.nan)) for factor, column in FACTORS.items()}
    compute = factors["gmacs"] * factors["samples"]
    factors |= {"compute": compute}
    lacking = [FACTORS[name] for name in fit.method.law.factors if not np.isfinite(factors[name]).all()]
    if lacking:
        raise LawError(f"{fit.method.name} predicts by {', '.join(lacking)}, which the cells lack", remedy="Add it.")
    predicted, low, high = fit.predict(LEVEL, **{name: factors[name] for name in fit.method.law.factors})
    models = cells["model"].astype(str).tolist() if "model" in cells else [""] * len(cells)
    rows = [
        ForecastCell(
            cell=names[n], model=models[n], compute_gmacs=compute[n], error=predicted[n], low=low[n], high=high[n],
            **{column: _known(factors[factor][n]) for factor, column in FACTORS.items()},
        )
        for n in range(len(cells))
    ]  # fmt: skip
    return _frozen(runs, fit, rows, is_chosen, kind="forecast")


def replay(runs: Runs, is_later: np.ndarray, method: Method | None = None) -> Forecast:
    """Freeze what the other runs say of runs that have been measured: a test of the method, and no forecast.

    is_later: (n,) mask of the runs to predict; the best of each (model, budget) is, as in the rolling hold-out.
    """
    if not is_later.any() or is_later.all():
        which = "no run" if not is_later.any() else "every run"
        raise LawError(f"{runs.place}: {which} is left out", remedy="A replay needs runs on both sides.")
    before, after = runs.take(~is_later), runs.take(is_later)
    fit, is_chosen = _fitted(before, method)
    after = after.take(best_cells(after))
    rows = [
        ForecastCell(
            cell=str(row["cell"]), model=str(after.model[n]), compute_gmacs=float(row["compute_gmacs"]),
            error=float(row["predicted"]), low=float(row["low"]), high=float(row["high"]),
            **{column: _known(getattr(after, factor)[n]) for factor, column in FACTORS.items()},
        )
        for n, row in enumerate(predict_runs(fit, after).to_dict("records"))
    ]  # fmt: skip
    return _frozen(before, fit, rows, is_chosen, kind="replay")


def _fitted(runs: Runs, method: Method | None) -> tuple[Fit, bool]:
    """The law, and whether the hold-out chose its method. UnfitPoints where it may predict nothing."""
    is_chosen = method is None
    if method is None:
        usual = find_method(DEFAULT)
        name, _ = best_by_holdout(runs, usual, rolling_holdout(runs, usual))
        method = find_method(name or DEFAULT)
    fit = fit_runs(runs, method)
    if not fit.is_law:
        raise UnfitPoints(f"{runs.place}: {fit.verdict}", remedy="Add runs before you forecast by them.")
    return fit, is_chosen


def _frozen(runs: Runs, fit: Fit, cells: list[ForecastCell], is_chosen: bool, kind: str) -> Forecast:
    made = code()
    points = zip(runs.cell, runs.compute, runs.error, strict=True)
    return Forecast(
        kind="replay" if kind == "replay" else "forecast",
        made=datetime.now(UTC).isoformat(timespec="seconds"),
        commit=made.commit,
        diff_sha256=made.diff_sha256,
        target=runs.target,
        metric=runs.metric,
        source=runs.source,
        method=fit.method.name,
        is_chosen_by_holdout=is_chosen,
        verdict=str(fit.verdict),
        parameters=fit.parameters,
        points=[ForecastPoint(cell=cell, compute_gmacs=at, error=error) for cell, at, error in points],
        cells=cells,
    ).frozen()


@dataclass(frozen=True)
class Judgement:
    """A forecast beside what was measured.

    rows: cell, compute_gmacs, predicted, low, high, actual (errors), is_hit, score (of the interval, below), a row a
    cell that has been run. n_open: cells that have not. moved: cells of the fitted points that the table now has with
    another error, or no longer has.
    """

    rows: pd.DataFrame
    n_open: int
    moved: list[str]

    @property
    def hits(self) -> int:
        """Runs inside their 90 % interval."""
        return int(self.rows["is_hit"].sum())

    @property
    def chance(self) -> float:
        """Probability of so few hits or fewer if the intervals are right and the runs independent (binomial)."""
        return float(stats.binom.cdf(self.hits, len(self.rows), LEVEL))

    @property
    def mean_error(self) -> float:
        """Mean absolute distance of prediction and measurement, in the error's own unit."""
        return float((self.rows["predicted"] - self.rows["actual"]).abs().mean())

    @property
    def mean_score(self) -> float:
        """Mean interval score, in the error's own unit; less is better."""
        return float(self.rows["score"].mean())


def judge(forecast: Forecast, runs: Runs, finished: Mapping[str, datetime] | None = None) -> Judgement:
    """Compare a forecast with what has been measured since.

    finished: when runs ended, by cell, where that is known. LawError where the forecast is of another target, and
    where one of its runs ended before it was made. The score of an interval is its width plus 2 / 0.1 times the
    distance of a run outside it (Gneiting and Raftery, 2007, eq. 43).
    """
    asked, given = ((one.target, one.metric, one.source) for one in (forecast, runs))
    if asked != given:
        raise LawError(f"the forecast is of {' '.join(asked).strip()}, the table's runs are of {runs.place}")
    made, rows = datetime.fromisoformat(forecast.made), []
    for cell in forecast.cells:
        found = _measured(runs, cell.cell, {name: getattr(cell, name) for name in FACTORS.values()})
        if len(found) > 1:
            raise LawError(
                f"{len(found)} runs of the table are {cell.cell or _described(cell)}",
                remedy="Name the cells of a forecast: --column cell=YOURS.",
            )
        if not len(found):
            continue
        n, name = found[0], str(runs.cell[found[0]])
        ended = (finished or {}).get(name)
        if ended is not None and ended < made and forecast.kind == "forecast":
            raise LawError(
                f"{name} ended on {ended.isoformat()}, before the forecast was made ({forecast.made}): it is none",
                remedy="Freeze a forecast before its runs; of measured runs make a replay.",
            )
        actual = float(runs.error[n])
        outside = max(cell.low - actual, actual - cell.high, 0.0)
        rows.append(
            {
                "cell": name, "compute_gmacs": cell.compute_gmacs, "predicted": cell.error, "low": cell.low,
                "high": cell.high, "actual": actual, "is_hit": outside == 0,
                "score": cell.high - cell.low + 2 / (1 - LEVEL) * outside,
            }
        )  # fmt: skip
    columns = ["cell", "compute_gmacs", "predicted", "low", "high", "actual", "is_hit", "score"]
    now = dict(zip(runs.cell.astype(str), runs.error, strict=True))
    moved = [point.cell for point in forecast.points if not np.isclose(now.get(point.cell, np.nan), point.error)]
    return Judgement(pd.DataFrame(rows, columns=columns), len(forecast.cells) - len(rows), moved)


def _measured(runs: Runs, name: str, place: Mapping[str, float | None]) -> np.ndarray:
    """Indices of the runs that are this cell: of its name, or without one of its size, samples and pairs."""
    if name:
        return np.flatnonzero(runs.cell.astype(str) == name)
    same = np.ones(len(runs), dtype=bool)
    for factor, column in FACTORS.items():
        value, there = place.get(column), getattr(runs, factor)
        if value is not None and np.isfinite(value) and np.isfinite(there).any():
            same &= np.isclose(there, value, rtol=SAME, atol=0)
    return np.flatnonzero(same)


def _described(cell: ForecastCell) -> str:
    return f"of {cell.gmacs_per_sample:g} GMAC a sample and {cell.samples_seen:g} samples"


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
