import dataclasses

import numpy as np
import pandas as pd
import pytest

from clip_scaling.laws import UnfitPoints
from clip_scaling.laws.design import candidate_cells
from clip_scaling.laws.isoflop import isoflop_optima
from clip_scaling.laws.methods import find_method
from clip_scaling.laws.planning import allocation, best_next_cells, optima, ranked_cells
from clip_scaling.laws.synthetic import TRUTHS, Truth, draw_runs

SIZES, BUDGETS = np.geomspace(1, 16, 5), np.geomspace(1e8, 1e10, 5)
GRID = tuple(a.ravel() for a in (*np.meshgrid(SIZES, BUDGETS), np.full((5, 5), 1e12)))


def _truth():
    # E = m^-0.5 + 2.5e4 s^-0.5: at compute C the optimum is m = C^0.5 / 2.5e4 (the terms are then equal).
    return Truth(lambda c, m, s, u: m**-0.5 + 2.5e4 * s**-0.5, {})


def test_a_grid_of_models_and_budgets_has_isoflop_parabolas_between_its_cells():
    runs = draw_runs(_truth(), 0.002, np.random.default_rng(0), GRID)
    row = isoflop_optima(runs, [1e10]).iloc[0]
    assert row["models"] == 5
    assert row["gmacs"] == pytest.approx(1e5 / 2.5e4, rel=0.25)
    assert row["gmacs_low"] < 4 < row["gmacs_high"]
    assert row["gmacs"] * row["samples"] == pytest.approx(1e10)


def test_a_parabola_without_a_minimum_among_the_models_states_none():
    larger_is_better = Truth(lambda c, m, s, u: c**-0.1 * m**-0.2, {})
    row = isoflop_optima(draw_runs(larger_is_better, 0.0, np.random.default_rng(0), GRID), [1e10]).iloc[0]
    assert np.isnan(row["gmacs"]) and np.isnan(row["error"])


def test_the_allocation_of_a_study_has_both_ways_and_says_where_it_extrapolates():
    runs = draw_runs(_truth(), 0.002, np.random.default_rng(0), GRID)
    rows = allocation(runs, [1e10, 1e13], find_method("all/chinchilla/log/ols"), draws=50)
    assert rows["method"].tolist() == ["all/chinchilla/log/ols"] * 2 + ["isoflop"]
    assert rows["verdict"].tolist()[0] == "optimum"
    assert rows["verdict"].tolist()[1].startswith("optimum, beyond the measured models (1 to 16)")
    assert rows["gmacs"].iloc[0] == pytest.approx(4, rel=0.1)


def test_candidates_are_the_cells_that_a_grid_lacks_and_one_step_beyond():
    runs = draw_runs(TRUTHS["power"], 0.02, np.random.default_rng(0))
    cells = candidate_cells(runs)
    # 5 models, 3 budgets, 3 data sets and a step of model and of budget: 6 x 4 x 3 = 72 cells, 29 of them measured.
    assert len(cells) == 72 - 29
    assert cells["gmacs_per_sample"].max() == pytest.approx(290.74**2 / 190.97, rel=0.02)
    assert cells["samples_seen"].max() == pytest.approx(34e9**2 / 13e9, rel=0.02)


def test_candidates_need_the_size_of_every_model():
    runs = draw_runs(TRUTHS["power"], 0.02, np.random.default_rng(0))
    with pytest.raises(UnfitPoints, match="candidates need gmacs_per_sample"):
        candidate_cells(dataclasses.replace(runs, gmacs=np.full(29, np.nan)))


def test_cells_are_ranked_by_the_law_that_the_grid_can_carry():
    runs = draw_runs(TRUTHS["loglinear"], 0.02, np.random.default_rng(0))
    assert set(ranked_cells(runs)["method"]) == {"loglinear"}
    one_pool = dataclasses.replace(runs, unique=np.full(29, 1e9))
    candidates = pd.DataFrame({"gmacs_per_sample": [300.0], "samples_seen": [3e10]})
    assert set(ranked_cells(one_pool, candidates)["method"]) == {"ols-all"}


def test_the_ranking_for_a_log_linear_law_s_alpha_is_that_of_its_two_exponents_mean():
    runs = draw_runs(TRUTHS["loglinear"], 0.02, np.random.default_rng(0))
    row = ranked_cells(runs).iloc[0]
    # By hand: the half-width of (a_m + a_s) / 2 from the least-squares covariance of the design.
    design = np.column_stack([np.ones(29), np.log(runs.gmacs), np.log(runs.samples), np.log(runs.unique)])
    theta, (squares,), _, _ = np.linalg.lstsq(design, np.log(runs.error), rcond=None)
    covariance = squares / 25 * np.linalg.inv(design.T @ design)
    half = 2.0595385527532946 * np.sqrt(covariance[1:3, 1:3].sum() / 4)  # Student's 97.5 % quantile at 25
    assert row["half_width_now"] == pytest.approx(half, rel=1e-6)


def test_few_runs_plan_nothing():
    runs = draw_runs(TRUTHS["power"], 0.02, np.random.default_rng(0)).take(np.arange(5))
    assert optima(runs) == best_next_cells(runs) == []
