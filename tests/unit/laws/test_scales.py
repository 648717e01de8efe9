import dataclasses

import numpy as np
import pytest

from clip_scaling.laws import UnfitPoints, fit
from clip_scaling.laws.fits import fit_runs
from clip_scaling.laws.methods import find_method
from clip_scaling.laws.scales import SCALES
from clip_scaling.laws.synthetic import TRUTHS, draw_runs


def test_logit_and_its_inverse_are_the_textbook_s():
    logit = SCALES["logit"]
    np.testing.assert_allclose(logit.value(np.log([0.2, 0.5, 0.9])), np.log([0.25, 1.0, 9.0]))
    np.testing.assert_allclose(logit.error(np.log([0.25, 1.0, 9.0])), [0.2, 0.5, 0.9])


def test_predictions_on_the_logit_scale_stay_below_an_error_of_one(make_table):
    compute = np.geomspace(1e3, 1e6, 8)
    error = 0.97 * (compute / 1e3) ** -0.05
    error[::2] *= 0.97
    table = make_table(compute.tolist(), error.tolist())
    law = fit(table, target="target", metric="acc1", method="all/power/logit/ols")
    _, _, high = law.predict(0.99, compute=np.array([1e3]))
    assert high[0] < 1


def test_binomial_weights_follow_the_size_of_the_evaluation_set():
    runs = dataclasses.replace(draw_runs(TRUTHS["power"], 0.0, np.random.default_rng(0)), tests=np.full(29, 1000.0))
    _, variance = SCALES["binomial"].prepare(runs)
    # Binomial: var(E) = E (1 - E) / n, so var(ln E) = (1 - E) / (E n).
    np.testing.assert_allclose(variance, (1 - runs.error) / (runs.error * 1000))


def test_binomial_noise_alone_is_found_to_leave_no_extra_scatter():
    generator = np.random.default_rng(0)
    runs = draw_runs(TRUTHS["power"], 0.0, generator)
    counts = generator.binomial(200_000, runs.error)
    runs = dataclasses.replace(runs, error=counts / 200_000, tests=np.full(29, 2e5))
    law = fit_runs(runs, find_method("all/power/binomial/ols"))
    assert law.scatter == pytest.approx(np.sqrt((1 - 0.4) / (0.4 * 2e5)), rel=0.5)
    assert law.parameters["alpha"] == pytest.approx(-0.11, abs=1e-3)


def test_replicates_are_averaged_with_the_pooled_variance_of_their_seeds():
    runs = draw_runs(TRUTHS["power"], 0.0, np.random.default_rng(0)).take(np.array([0, 0, 5, 5, 9]))
    factor = np.array([0.1, -0.1, 0.2, -0.2, 0.0])
    runs = dataclasses.replace(runs, error=runs.error * np.exp(factor), cell=np.array(list("abcde"), dtype=object))
    means, variance = SCALES["seeds"].prepare(runs)
    # Sample variances 0.02 and 0.08, one degree of freedom each: pooled 0.05; means of two have half of it.
    np.testing.assert_allclose(variance, [0.025, 0.025, 0.05])
    truth = draw_runs(TRUTHS["power"], 0.0, np.random.default_rng(0)).error
    np.testing.assert_allclose(means.error, truth[[0, 5, 9]])


def test_scales_that_need_what_a_table_lacks_say_so():
    runs = draw_runs(TRUTHS["power"], 0.02, np.random.default_rng(0))
    with pytest.raises(UnfitPoints, match="no cell was trained with two seeds"):
        fit_runs(runs, find_method("all/power/seeds/ols"))
    with pytest.raises(UnfitPoints, match="size of the evaluation set"):
        fit_runs(runs, find_method("all/power/binomial/ols"))
