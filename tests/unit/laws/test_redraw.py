import dataclasses

import numpy as np
import pytest

from clip_scaling.laws.fits import fit_runs
from clip_scaling.laws.methods import find_method
from clip_scaling.laws.redraw import redraw_about_fit, redraw_about_surface, smoother
from clip_scaling.laws.synthetic import TRUTHS, draw_runs


def test_the_surface_of_a_plane_is_that_plane():
    runs = draw_runs(TRUTHS["loglinear"], 0.0, np.random.default_rng(0))
    values = np.log(runs.error)
    np.testing.assert_allclose(smoother(runs) @ values, values, atol=1e-9)


def test_a_table_with_compute_alone_is_smoothed_along_it():
    runs = draw_runs(TRUTHS["power"], 0.0, np.random.default_rng(0))
    nothing = np.full(len(runs), np.nan)
    bare = dataclasses.replace(runs, gmacs=nothing, samples=nothing, unique=nothing)
    np.testing.assert_allclose(smoother(bare) @ np.log(bare.error), np.log(bare.error), atol=1e-9)


def test_redrawn_grids_scatter_as_much_as_the_runs_did():
    generator, deviations, degrees = np.random.default_rng(0), [], []
    for _ in range(40):
        runs = draw_runs(TRUTHS["power"], 0.05, generator)
        redraws = redraw_about_surface(runs, np.log(runs.error), np.ones(len(runs)), 200, generator)
        deviations.append((redraws.values - redraws.centre).std())
        degrees.append(redraws.degrees)
    assert np.mean(deviations) == pytest.approx(0.05, rel=0.05)
    assert 20 < degrees[0] < 25  # 29 runs less a plane in three coordinates (4), less a little for its departure


def test_residuals_about_a_fit_are_scaled_by_its_degrees_of_freedom():
    # Residuals +-1 around 0, eight runs, two parameters: a run's variance is 8 / 6.
    values = np.array([1.0, -1.0] * 4)
    redraws = redraw_about_fit(np.zeros(8), values, 2, np.ones(8), 50, np.random.default_rng(0))
    assert redraws.deviation == pytest.approx(np.sqrt(8 / 6))
    np.testing.assert_allclose(np.abs(redraws.values), np.sqrt(8 / 6))


@pytest.mark.parametrize("method", ["binned-min-5", "frontier-ols"])
def test_intervals_of_chosen_points_cover_the_law_that_the_grid_follows(method):
    # The long version is benchmarks/laws_coverage.py. Pairs redrawn with replacement cover 0.998 and 0.920 instead.
    generator, truth, covered = np.random.default_rng(0), TRUTHS["power"], []
    for _ in range(150):
        low, high = fit_runs(draw_runs(truth, 0.05, generator), find_method(method), draws=150).intervals["alpha"]
        covered.append(low <= truth.parameters["alpha"] <= high)
    assert 0.88 <= np.mean(covered) <= 0.99


def test_a_table_of_many_runs_is_redrawn_about_the_plane():
    generator = np.random.default_rng(0)
    grid = tuple(np.exp(generator.uniform(0, 5, (3, 1200))))
    runs = draw_runs(TRUTHS["loglinear"], 0.05, generator, grid)
    redraws = redraw_about_surface(runs, np.log(runs.error), np.ones(1200), 2, generator)
    assert redraws.degrees == pytest.approx(1200 - 4)
    assert redraws.deviation == pytest.approx(0.05, rel=0.1)


def test_coordinates_that_do_not_vary_are_left_to_compute():
    runs = draw_runs(TRUTHS["power"], 0.05, np.random.default_rng(0))
    alike = dataclasses.replace(runs, gmacs=np.full(29, 2.0), samples=np.full(29, 1e9), unique=np.full(29, 1e9))
    law = fit_runs(alike, find_method("frontier-ols"), draws=50)
    assert law.interval == "bootstrap" and np.isfinite(law.intervals["alpha"]).all()
