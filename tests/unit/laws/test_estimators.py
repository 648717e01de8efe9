import dataclasses

import numpy as np
import pytest
from scipy.optimize import curve_fit

from clip_scaling.laws.estimators import Points, least_squares, sum_huber
from clip_scaling.laws.fits import fit_runs
from clip_scaling.laws.forms import FORMS, Reference
from clip_scaling.laws.methods import find_method
from clip_scaling.laws.scales import SCALES
from clip_scaling.laws.synthetic import TRUTHS, Truth, draw_runs


def test_exact_points_give_the_exact_parameters_of_every_form_they_follow():
    for name, method in (("power-floor", "power-floor"), ("chinchilla", "all/chinchilla/log/ols")):
        runs = draw_runs(TRUTHS[name], 0.0, np.random.default_rng(0))
        law = fit_runs(runs, find_method(method), intervals=False)
        for parameter, value in TRUTHS[name].parameters.items():
            assert law.parameters[parameter] == pytest.approx(value, rel=1e-4)
        assert law.optimiser["agreement"] > 0.5


def test_many_starts_find_what_scipy_s_curve_fit_finds_from_the_truth():
    runs = draw_runs(TRUTHS["power-floor"], 0.03, np.random.default_rng(1))

    def model(compute, log_beta, alpha, log_floor):
        return np.log(np.exp(log_beta) * compute**alpha + np.exp(log_floor))

    expected, _ = curve_fit(model, runs.compute, np.log(runs.error), [np.log(900), -0.35, np.log(0.2)])
    law = fit_runs(runs, find_method("power-floor"), intervals=False)
    assert law.parameters["alpha"] == pytest.approx(expected[1], rel=1e-4)
    assert law.parameters["floor"] == pytest.approx(np.exp(expected[2]), rel=1e-4)


def test_a_batch_of_least_squares_equals_its_members():
    form, scale, generator = FORMS["power-floor"], SCALES["log"], np.random.default_rng(2)
    runs = [draw_runs(TRUTHS["power-floor"], 0.03, generator) for _ in range(3)]
    columns = Reference.of(runs[0], form.factors).columns_of(runs[0])
    ones = np.ones(len(runs[0]))
    log_error = np.log([run.error for run in runs])
    together = least_squares(
        form, scale, Points({"compute": np.tile(columns["compute"], (3, 1))}, log_error, ones + 0 * log_error)
    )
    for row in range(3):
        alone = least_squares(form, scale, Points(columns, log_error[row], ones))
        np.testing.assert_allclose(together.theta[row], alone.theta, rtol=1e-4)


def test_huber_ignores_an_outlier_that_pulls_least_squares_away():
    runs = draw_runs(TRUTHS["power"], 0.0, np.random.default_rng(0))
    error = runs.error.copy()
    error[-1] *= 1.5
    spoiled = dataclasses.replace(runs, error=error)
    huber = fit_runs(spoiled, find_method("all/power/log/huber"), draws=0, intervals=False)
    squares = fit_runs(spoiled, find_method("ols-all"))
    assert huber.parameters["alpha"] == pytest.approx(-0.11, abs=1e-4)
    assert abs(squares.parameters["alpha"] + 0.11) > 5e-3


def test_chinchilla_s_law_is_recovered_within_the_standard_errors_of_epoch_s_refit():
    # Epoch AI's refit (Besiroglu et al. 2024): 240 points; E 1.8169 (0.0257), A 482.01 (124.5), B 2085.43 (1293.3),
    # alpha 0.3478 (0.0154), beta 0.3659 (0.0206). A table with those parameters as its truth.
    truth = Truth(lambda c, n, d, u: 1.8169 + 482.01 * n**-0.3478 + 2085.43 * d**-0.3659, {})
    generator = np.random.default_rng(0)
    size = np.exp(generator.uniform(np.log(5e7), np.log(1.6e10), 240))
    tokens = np.exp(generator.uniform(np.log(5e8), np.log(3e11), 240))
    runs = draw_runs(truth, 0.004, generator, (size, tokens, np.full(240, np.nan)))
    runs = dataclasses.replace(runs, metric="loss")
    law = fit_runs(runs, find_method("chinchilla"), draws=0, intervals=False)
    assert law.parameters["floor"] == pytest.approx(1.8169, abs=0.0257)
    assert law.parameters["beta_gmacs"] == pytest.approx(482.01, abs=124.5)
    assert law.parameters["beta_samples"] == pytest.approx(2085.43, abs=1293.3)
    assert law.parameters["alpha_gmacs"] == pytest.approx(-0.3478, abs=0.0154)
    assert law.parameters["alpha_samples"] == pytest.approx(-0.3659, abs=0.0206)
    assert law.optimiser["agreement"] > 0.5


def test_the_sum_of_huber_losses_is_at_its_minimum():
    form, scale = FORMS["power-floor"], SCALES["log"]
    runs = draw_runs(TRUTHS["power-floor"], 0.05, np.random.default_rng(3))
    columns = Reference.of(runs, form.factors).columns_of(runs)
    points = Points(columns, np.log(runs.error), np.ones(len(runs)))
    found = sum_huber(form, scale, points)

    def loss(theta, delta=1e-3):
        r = np.abs(form.log_error(theta, columns) - points.log_error)
        return np.where(r <= delta, r**2 / 2, delta * (r - delta / 2)).sum()

    assert found.cost == pytest.approx(loss(found.theta))
    for step in 1e-3 * np.vstack([np.eye(3), -np.eye(3)]):
        assert loss(found.theta + step) >= found.cost
