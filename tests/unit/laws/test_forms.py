import numpy as np
import pytest

from clip_scaling.laws.forms import FORMS, Reference
from clip_scaling.laws.synthetic import TRUTHS, draw_runs


@pytest.fixture
def runs():
    return draw_runs(TRUTHS["chinchilla"], 0.05, np.random.default_rng(0))


@pytest.mark.parametrize("name", FORMS)
def test_jacobians_equal_central_differences(runs, name):
    form = FORMS[name]
    columns = Reference.of(runs, form.factors).columns_of(runs)
    for theta in form.starts(columns, np.log(runs.error))[:3]:
        steps = 1e-6 * np.eye(len(theta))
        numeric = [(form.log_error(theta + h, columns) - form.log_error(theta - h, columns)) / 2e-6 for h in steps]
        value, jacobian = form.with_jacobian(theta, columns)
        np.testing.assert_allclose(value, form.log_error(theta, columns))
        np.testing.assert_allclose(jacobian, np.stack(numeric, axis=-1), atol=1e-7)


def test_natural_parameters_reproduce_each_form_written_out(runs):
    c, m, s, u = runs.compute, runs.gmacs, runs.samples, runs.unique

    def effective(worth):
        distinct = np.minimum(s, u)
        return distinct * (1 + worth * (1 - np.exp(-(s / distinct - 1) / worth)))

    written_out = {
        "power": lambda p: p["beta"] * c ** p["alpha"],
        "loglinear": lambda p: p["beta"] * m ** p["alpha_gmacs"] * s ** p["alpha_samples"] * u ** p["alpha_unique"],
        "power-floor": lambda p: p["beta"] * c ** p["alpha"] + p["floor"],
        "shifted": lambda p: p["beta"] * (c + p["shift"]) ** p["alpha"],
        "shifted-floor": lambda p: p["beta"] * (c + p["shift"]) ** p["alpha"] + p["floor"],
        "additive": lambda p: (
            sum(p[f"beta_{k}"] * v ** p[f"alpha_{k}"] for k, v in (("gmacs", m), ("samples", s), ("unique", u)))
            + p["floor"]
        ),
        "chinchilla": lambda p: (
            p["beta_gmacs"] * m ** p["alpha_gmacs"] + p["beta_samples"] * s ** p["alpha_samples"] + p["floor"]
        ),
        "data-constrained": lambda p: (
            p["beta_gmacs"] * m ** p["alpha_gmacs"]
            + p["beta_samples"] * effective(p["repeats_worth"]) ** p["alpha_samples"]
            + p["floor"]
        ),
    }
    assert set(written_out) == set(FORMS)
    for name, form in FORMS.items():
        reference = Reference.of(runs, form.factors)
        columns = reference.columns_of(runs)
        theta = form.starts(columns, np.log(runs.error))[0]
        expected = written_out[name](form.natural(theta, reference))
        np.testing.assert_allclose(np.exp(form.log_error(theta, columns)), expected, rtol=1e-9, err_msg=name)
        assert set(form.natural(theta, reference)) == set(form.parameters)
