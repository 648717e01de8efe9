"""Optimal learning rates against parabolas that are known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from clip_scaling.laws.optimal_rates import optimal_rates
from clip_scaling.records.evaluation import OPTIMAL_RATES_TABLE

RATES = [5e-4, 1e-3, 2e-3, 4e-3]


def search(losses: list[float], rates: list[float] | None = None, model: str = "m") -> pd.DataFrame:
    return pd.DataFrame({"model": model, "learning_rate": rates or RATES, "final_loss": losses})


def parabola(rates: list[float], at: float, least: float = 3.0, a: float = 0.25) -> list[float]:
    return [least + a * (np.log2(rate) - np.log2(at)) ** 2 for rate in rates]


@pytest.mark.parametrize("at", [8e-4, 1e-3, 1.3e-3, 2.4e-3])
def test_the_vertex_of_a_parabola_is_found_exactly(at: float) -> None:
    found = optimal_rates(search(parabola(RATES, at))).iloc[0]
    assert (found["learning_rate"], found["final_loss"]) == pytest.approx((at, 3.0))
    assert found["verdict"] == "found" and np.isnan(found["low"])


@pytest.mark.parametrize(
    ("at", "end", "more"),
    [(3e-4, "lowest rate, 0.0005", "0.00025 and 0.000125"), (9e-3, "highest rate, 0.004", "0.008 and 0.016")],
)
def test_an_optimum_at_an_end_of_the_search_is_not_found_and_rates_to_add_are_named(
    at: float, end: str, more: str
) -> None:
    found = optimal_rates(search(parabola(RATES, at))).iloc[0]
    assert found["verdict"] == f"not found: the loss is least at the {end}. Try {more}"
    assert np.isnan(found["learning_rate"])


def test_a_rate_that_diverged_bounds_nothing() -> None:
    found = optimal_rates(search([4.0, 3.5, 3.0, np.nan])).iloc[0]
    assert found["verdict"] == "not found: 0.004, next to the best rate 0.002, diverged. Try 0.00283"
    assert (found["lowest_loss_rate"], found["diverged"]) == (2e-3, 1)
    every = optimal_rates(search([np.nan] * 4)).iloc[0]
    assert every["verdict"] == "not found: every run diverged. Try 0.00025 and 0.000125"
    flat = optimal_rates(search([3.0, 3.0, 3.0, 3.1])).iloc[0]
    assert flat["verdict"].startswith("not found")


def test_repeats_give_the_interval_of_a_regression() -> None:
    # By numpy's own covariance of a fitted parabola, and the derivative of -b / 2a.
    rng = np.random.default_rng(5)
    rates = RATES[:3] * 4
    losses = np.array(parabola(rates, 1.1e-3)) + 0.01 * rng.standard_normal(12)
    found = optimal_rates(search(losses.tolist(), rates)).iloc[0]
    x = np.log2(rates) - np.log2(1e-3)
    (a, b, _), covariance = np.polyfit(x, losses, 2, cov=True)
    gradient = np.array([b / (2 * a * a), -1 / (2 * a), 0])
    reach = stats.t.ppf(0.975, 9) * np.sqrt(gradient @ covariance @ gradient)
    middle = np.log2(1e-3) - b / (2 * a)
    expected = tuple(2.0 ** np.array([middle, middle - reach, middle + reach]))
    assert (found["learning_rate"], found["low"], found["high"]) == pytest.approx(expected)


def test_each_model_has_a_row_with_the_columns_of_the_table() -> None:
    both = pd.concat([search(parabola(RATES, 1e-3)), search(parabola(RATES, 9e-3), model="n")])
    table = optimal_rates(both)
    assert table.columns.tolist() == OPTIMAL_RATES_TABLE.names and table["model"].tolist() == ["m", "n"]
