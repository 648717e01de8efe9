"""The learning rate of least loss of each model, from a search: the vertex of a parabola in log2 of the rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy import stats

from ..records.evaluation import OPTIMAL_RATES_TABLE

FOUND = "found"
MORE_RATES = 2
"""Rates that are proposed beyond the end of a search."""


def optimal_rates(search: pd.DataFrame) -> pd.DataFrame:
    """One row a model of a search (columns `model`, `learning_rate`, `final_loss`; a row a run, seeds are repeats).

    The parabola goes through the losses at the best rate and at the next one on either side. Its 95 % interval comes
    from repeats, by the derivative of the vertex; without repeats there is none. Where the least loss is at an end of
    the search, or beside a rate whose runs diverged, no optimum is found, and `verdict` names the rates to add.
    """
    rows = [{"model": model} | _optimum(runs) for model, runs in search.groupby("model", sort=False)]
    return pd.DataFrame(rows, columns=OPTIMAL_RATES_TABLE.names)


def _optimum(runs: pd.DataFrame) -> dict[str, object]:
    means = runs.groupby("learning_rate")["final_loss"].apply(lambda losses: losses.mean(skipna=False))
    ended = means.dropna()
    known = {"rates": len(means), "diverged": int(means.isna().sum())}
    if ended.empty:
        return known | {"verdict": f"not found: every run diverged. Try {_listed(_below(means.index[0]))}"}
    best = float(ended.idxmin())
    place = means.index.get_loc(best)
    if place == 0:
        return known | _missed(ended, "lowest", _below(best))
    if place == len(means) - 1:
        return known | _missed(ended, "highest", _above(best))
    below, above = (float(means.index[place + step]) for step in (-1, 1))
    if np.isnan(means[above]) or np.isnan(means[below]):
        diverged = above if np.isnan(means[above]) else below
        between = [float(np.sqrt(best * diverged))]
        found = {"lowest_loss_rate": best, "final_loss": ended[best]}
        said = f"not found: {diverged:g}, next to the best rate {best:g}, diverged. Try {_listed(between)}"
        return known | found | {"verdict": said}
    near = runs[runs["learning_rate"].isin([below, best, above])]
    return known | _vertex(np.log2(near["learning_rate"].to_numpy()), near["final_loss"].to_numpy(), best)


def _vertex(places: np.ndarray, losses: np.ndarray, best: float) -> dict[str, object]:
    """Least-squares parabola a x^2 + b x + c about the best rate: its vertex -b / 2a, and the interval from repeats."""
    middle = np.log2(best)
    design = np.vander(places - middle, 3)
    coefficients, *_ = np.linalg.lstsq(design, losses, rcond=None)
    a, b, c = coefficients
    found: dict[str, object] = {"lowest_loss_rate": best}
    if not a > 0:
        return found | {"final_loss": c, "verdict": "not found: the loss is flat about the best rate"}
    shift = -b / (2 * a)
    found |= {"learning_rate": float(2 ** (middle + shift)), "final_loss": float(c - b**2 / (4 * a)), "verdict": FOUND}
    degrees = len(losses) - 3
    if degrees > 0:
        squares = float(((losses - design @ coefficients) ** 2).sum()) / degrees
        gradient = np.array([b / (2 * a**2), -1 / (2 * a), 0.0])
        spread = np.sqrt(squares * gradient @ np.linalg.inv(design.T @ design) @ gradient)
        reach = stats.t.ppf(0.975, degrees) * spread
        found |= {"low": float(2 ** (middle + shift - reach)), "high": float(2 ** (middle + shift + reach))}
    return found


def _missed(ended: pd.Series, end: str, more: list[float]) -> dict[str, object]:
    best = float(ended.idxmin())
    said = f"not found: the loss is least at the {end} rate, {best:g}. Try {_listed(more)}"
    return {"lowest_loss_rate": best, "final_loss": ended[best], "verdict": said}


def _below(rate: float) -> list[float]:
    return [float(rate) / 2**step for step in range(1, MORE_RATES + 1)]


def _above(rate: float) -> list[float]:
    return [float(rate) * 2**step for step in range(1, MORE_RATES + 1)]


def _listed(rates: list[float]) -> str:
    return " and ".join(f"{rate:.3g}" for rate in rates)
