"""IsoFLOP parabolas: at one compute, the model size of least error (Hoffmann et al. 2022, approach 2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from .fits import FEWEST_FOR_BOOTSTRAP
from .redraw import redraw_about_fit
from .runs import Runs, UnfitPoints
from .student import slope_and_error, t_reach
from .verdicts import most_data

SAME_COMPUTE = 1.1  # Runs within 10 % of the next lie on one isoFLOP curve.
COLUMNS = (
    "compute_gmacs", "models", "gmacs", "gmacs_low", "gmacs_high", "samples", "samples_low", "samples_high", "error",
)  # fmt: skip


def isoflop_optima(
    runs: Runs, budgets: Sequence[float], *, draws: int = 500, seed: int = 0, level: float = 0.95
) -> pd.DataFrame:
    """The minimum of a parabola of ln E in ln model size at each budget (GMAC), from the runs on the most unique pairs.

    A model's error at a budget is interpolated between its runs, linearly in logarithms and never beyond them, so that
    a grid of models x budgets has isoFLOP curves although no two cells have the same compute. Rows (COLUMNS) are of
    budgets with at least three models. Numbers are NaN where the parabola has no minimum among these models; an
    interval's ends also where more than a twentieth of the redrawn grids have none, or with too few runs to redraw.
    """
    if np.isfinite(runs.unique).all():
        runs = runs.take(most_data(runs))
    values = np.log(runs.error)[None]
    if len(runs) >= FEWEST_FOR_BOOTSTRAP:
        values = np.concatenate([values, _redrawn(runs, draws, np.random.default_rng(seed))])
    between = ((budget, *_slice(runs, budget)) for budget in budgets)
    rows = [_optimum(budget, sizes, values @ shares.T, level) for budget, sizes, shares in between if len(sizes) > 2]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def slice_optima(runs: Runs, *, draws: int = 500, seed: int = 0, level: float = 0.95) -> pd.DataFrame:
    """The same at the computes where at least three models were trained, from the best run of each there (COLUMNS).

    Runs are at one compute where they lie within SAME_COMPUTE of its middle.
    """
    values = np.log(runs.error)[None]
    if len(runs) >= FEWEST_FOR_BOOTSTRAP:
        values = np.concatenate([values, _redrawn(runs, draws, np.random.default_rng(seed))])
    rows = []
    for members in slices(runs):
        sizes = np.unique(runs.gmacs[members])
        best = [min(members[runs.gmacs[members] == size], key=lambda run: runs.error[run]) for size in sizes]
        compute = float(np.exp(np.log(runs.compute[best]).mean()))
        rows.append(_optimum(compute, sizes, values[:, best], level))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def slices(runs: Runs) -> list[np.ndarray]:
    """Indices of the runs at each compute with at least three models, by compute; those with the most models first."""
    left = np.flatnonzero(np.isfinite(runs.gmacs))
    left = left[np.argsort(runs.compute[left])]
    found = []
    while len(left):
        compute = runs.compute[left]
        ends = np.searchsorted(compute, SAME_COMPUTE**2 * compute, side="right")
        models = [len(np.unique(runs.gmacs[left[start:end]])) for start, end in enumerate(ends)]
        start = int(np.argmax(models))
        if models[start] < 3:
            break
        found.append(left[start : ends[start]])
        left = np.delete(left, np.s_[start : ends[start]])
    return sorted(found, key=lambda group: float(runs.compute[group].mean()))


def _optimum(budget: float, sizes: np.ndarray, values: np.ndarray, level: float) -> dict[str, float]:
    """A row (COLUMNS) of ln E (b, m) of models of these sizes at a budget; the first of b is measured."""
    place, least = _parabola(np.log(sizes), values)
    low, high = _ends(place[1:], level)
    size, error = float(np.exp(place[0])), float(np.exp(least[0]))
    low, high = (low, high) if np.isfinite(size) else (np.nan, np.nan)
    ends = (budget / size, budget / high, budget / low)
    return dict(zip(COLUMNS, (budget, len(sizes), size, low, high, *ends, error), strict=True))


def _redrawn(runs: Runs, draws: int, generator: np.random.Generator) -> np.ndarray:
    """ln E (b, n) redrawn about a quadratic in ln model size and ln compute: a plane takes its curve for scatter."""
    m, c = (np.log(values) - np.log(values).mean() for values in (runs.gmacs, runs.compute))
    design = np.stack([np.ones_like(m), m, c, m**2, m * c, c**2], axis=-1)
    values = np.log(runs.error)
    fitted = design @ (np.linalg.pinv(design) @ values)
    rank = int(np.linalg.matrix_rank(design))
    return redraw_about_fit(fitted, values, rank, np.ones(len(runs)), draws, generator).values


def _slice(runs: Runs, budget: float) -> tuple[np.ndarray, np.ndarray]:
    """Sizes (m,) of the models whose runs enclose a budget, and the shares (m, n) of the runs in each one's ln E."""
    sizes, shares = [], []
    for size in np.unique(runs.gmacs[np.isfinite(runs.gmacs)]):
        own = np.flatnonzero(runs.gmacs == size)
        own = own[np.argsort(runs.compute[own])]
        compute = np.log(runs.compute[own])
        if len(own) < 2 or not compute[0] <= np.log(budget) <= compute[-1] or compute[0] == compute[-1]:
            continue
        share = np.zeros(len(runs))
        for run, unit in zip(own, np.eye(len(own)), strict=True):
            share[run] = np.interp(np.log(budget), compute, unit)
        sizes.append(size)
        shares.append(share)
    return np.array(sizes), np.array(shares).reshape(len(sizes), len(runs))


def _parabola(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Place and value of the minimum of parabolas through y (b, m) over x (m,); NaN where it is not among them."""
    square, linear, constant = np.linalg.pinv(np.stack([x**2, x, np.ones_like(x)], axis=-1)) @ y.T
    with np.errstate(divide="ignore", invalid="ignore"):
        place = -linear / (2 * square)
        inside = (square > 0) & (place >= x.min()) & (place <= x.max())
        return np.where(inside, place, np.nan), np.where(inside, constant + linear * place / 2, np.nan)


def _ends(places: np.ndarray, level: float) -> tuple[float, float]:
    if not len(places) or np.isnan(places).mean() > 1 - level:
        return np.nan, np.nan
    low, high = np.exp(np.nanquantile(places, [(1 - level) / 2, (1 + level) / 2]))
    return float(low), float(high)


def isoflop_minima(runs: Runs) -> pd.DataFrame:
    """The same from cells that were trained at the same compute, through the best run of each model.

    One row a compute with at least three models and a minimum among them: compute_gmacs (geometric mean), models,
    gmacs, samples, error at the minimum.
    """
    order = np.argsort(runs.compute)
    steps = runs.compute[order][1:] > SAME_COMPUTE * runs.compute[order][:-1]
    group = np.empty(len(runs), dtype=int)
    group[order] = np.concatenate([[0], np.cumsum(steps)])
    frame = pd.DataFrame({"group": group, "x": np.log(runs.gmacs), "y": np.log(runs.error), "c": np.log(runs.compute)})
    rows = []
    for _, part in frame.groupby("group"):
        best = part.loc[part.groupby("x")["y"].idxmin()]
        if len(best) < 3:
            continue
        place, least = _parabola(best["x"].to_numpy(), best["y"].to_numpy()[None])
        if np.isfinite(place[0]):
            compute, size = float(np.exp(best["c"].mean())), float(np.exp(place[0]))
            row = {"compute_gmacs": compute, "models": len(best), "gmacs": size, "samples": compute / size}
            rows.append(row | {"error": float(np.exp(least[0]))})
    return pd.DataFrame(rows, columns=["compute_gmacs", "models", "gmacs", "samples", "error"])


def isoflop_exponent(minima: pd.DataFrame, level: float = 0.95) -> tuple[float, float, float]:
    """Exponent of the optimal model size in compute, low, high (Student's t), from at least three isoFLOP minima."""
    if len(minima) < 3:
        raise UnfitPoints(
            f"isoFLOP: {len(minima)} compute levels have a parabola with its minimum inside; an exponent with an "
            "interval needs three. Train at least three model sizes at each of three computes."
        )
    slope, error = slope_and_error(np.log(minima["compute_gmacs"].to_numpy()), np.log(minima["gmacs"].to_numpy()))
    reach = t_reach(level, len(minima) - 2) * error
    return slope, slope - reach, slope + reach
