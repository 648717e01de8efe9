"""Coverage on synthetic grids; `benchmarks/laws_coverage.py` is the long version."""

import numpy as np
import pytest

from clip_scaling.laws.estimators import Points, least_squares
from clip_scaling.laws.fits import fit_runs
from clip_scaling.laws.forms import Reference
from clip_scaling.laws.intervals import profile_interval
from clip_scaling.laws.methods import find_method
from clip_scaling.laws.synthetic import TRUTHS, Truth, draw_runs

GRIDS = 300  # At a coverage of 0.95 the standard deviation of the share is 0.0126.


@pytest.mark.parametrize(("method", "truth"), [("ols-all", "power"), ("loglinear", "loglinear")])
def test_95_percent_intervals_and_90_percent_predictions_hold(method, truth):
    generator, law = np.random.default_rng(0), TRUTHS[truth]
    covered, held = [], []
    new = {"compute": 1e13, "gmacs": 290.74, "samples": 34e9, "unique": 2.32e9}
    expected = law.error(*(np.array([new[name]]) for name in ("compute", "gmacs", "samples", "unique")))
    for _ in range(GRIDS):
        fit = fit_runs(draw_runs(law, 0.05, generator), find_method(method))
        covered += [low <= law.parameters[name] <= high for name, (low, high) in fit.intervals.items()]
        _, low, high = fit.predict(0.9, **{name: np.array([new[name]]) for name in fit.method.law.factors})
        held.append(low <= expected * np.exp(0.05 * generator.standard_normal()) <= high)
    assert 0.92 <= np.mean(covered) <= 0.98
    assert 0.85 <= np.mean(held) <= 0.95


def test_a_profile_equals_student_s_interval_where_the_law_is_linear():
    runs = draw_runs(TRUTHS["power"], 0.05, np.random.default_rng(0))
    exact = fit_runs(runs, find_method("ols-all")).intervals["alpha"]
    method = find_method("ols-all")
    columns = Reference.of(runs, ("compute",)).columns_of(runs)
    points = Points(columns, np.log(runs.error), np.ones(len(runs)))
    best = least_squares(method.law, method.axis, points)
    error = (exact[1] - exact[0]) / 4
    profile = profile_interval(method, points, best.theta, float(best.cost), error, len(runs) - 2, 1)
    assert profile == pytest.approx(exact, rel=1e-3)


def test_a_floor_that_the_data_do_not_show_is_not_printed():
    law = fit_runs(draw_runs(TRUTHS["power"], 0.05, np.random.default_rng(0)), find_method("power-floor"))
    assert law.floor is None
    assert "floor" not in law.intervals
    assert law.verdict.startswith("law, not identifiable: ") and "floor" in law.verdict


def test_a_floor_that_the_data_show_is_bracketed():
    law = fit_runs(draw_runs(TRUTHS["power-floor"], 0.02, np.random.default_rng(0)), find_method("power-floor"))
    low, high = law.intervals["floor"]
    assert law.verdict == "law"
    assert 0.1 < low < law.floor < high < 0.3


def test_few_runs_get_student_s_interval_and_not_a_bootstrap_of_three_points():
    grid = (np.array([7.4, 20.57, 87.73]), np.full(3, 12.8e9), np.full(3, 4e8))
    runs = draw_runs(Truth(lambda c, m, s, u: 6 * c**-0.11, {}), 0.02, np.random.default_rng(0), grid)
    chosen, all_runs = (fit_runs(runs, find_method(name)) for name in ("frontier-ols", "ols-all"))
    assert chosen.interval == "t"
    assert chosen.intervals["alpha"] == pytest.approx(all_runs.intervals["alpha"])
