import numpy as np
import pytest

from clip_scaling.errors import LawError
from clip_scaling.laws import UnfitPoints
from clip_scaling.laws.allocate import compute_optimal
from clip_scaling.laws.isoflop import isoflop_exponent, isoflop_minima
from clip_scaling.laws.methods import find_method
from clip_scaling.laws.synthetic import TRUTHS, Truth, draw_runs

CHINCHILLA = find_method("all/chinchilla/log/ols")


def _optimal(budget):
    # L(N, D) = A N^-a + B D^-b + E with C = N D: N = G C^(b / (a + b)), G = (a A / (b B))^(1 / (a + b))
    # (Hoffmann et al. 2022, eq. 4). A = 0.5, B = 9000, a = b = 0.5 here.
    return 0.5 / 9000 * budget**0.5


def test_the_parametric_optimum_is_chinchilla_s_closed_form():
    runs = draw_runs(TRUTHS["chinchilla"], 0.0, np.random.default_rng(0))
    table = compute_optimal(runs, CHINCHILLA, [1e11, 1e13], draws=20)
    np.testing.assert_allclose(table["gmacs"], [_optimal(1e11), _optimal(1e13)], rtol=1e-3)
    np.testing.assert_allclose(table["gmacs"] * table["samples"], [1e11, 1e13])


def test_the_optimum_s_interval_brackets_it_with_noise():
    runs = draw_runs(TRUTHS["chinchilla"], 0.005, np.random.default_rng(0))
    row = compute_optimal(runs, CHINCHILLA, [1e12], draws=100).iloc[0]
    assert row["gmacs_low"] < _optimal(1e12) < row["gmacs_high"]
    assert row["samples_low"] < 1e12 / _optimal(1e12) < row["samples_high"]


def test_a_form_without_model_and_samples_has_no_allocation():
    runs = draw_runs(TRUTHS["power"], 0.02, np.random.default_rng(0))
    with pytest.raises(LawError, match="does not separate model from samples"):
        compute_optimal(runs, find_method("ols-all"), [1e12])
    with pytest.raises(LawError, match="Say how many"):
        compute_optimal(runs, find_method("additive"), [1e12])


def test_a_log_linear_law_has_its_optimum_at_the_edge_and_so_none():
    runs = draw_runs(TRUTHS["loglinear"], 0.02, np.random.default_rng(0))
    assert np.isnan(compute_optimal(runs, find_method("loglinear"), [1e12], unique=2e9, draws=10)["gmacs"].iloc[0])


def _isoflop_grid():
    computes = np.geomspace(1e10, 1e13, 4)
    gmacs = np.concatenate([_optimal(c) * 2.0 ** np.array([-1, -0.5, 0, 0.5, 1]) for c in computes])
    return gmacs, np.repeat(computes, 5) / gmacs, np.full(20, 2e9)


def test_isoflop_parabolas_find_the_optimum_and_its_exponent():
    # With equal exponents and no noise each curve is even about its optimum, so that the parabola's bias is nil.
    runs = draw_runs(
        Truth(lambda c, m, s, u: 0.5 * m**-0.5 + 9000 * s**-0.5, {}), 0.0, np.random.default_rng(0), _isoflop_grid()
    )
    minima = isoflop_minima(runs)
    np.testing.assert_allclose(minima["compute_gmacs"], np.geomspace(1e10, 1e13, 4))
    np.testing.assert_allclose(minima["gmacs"], _optimal(minima["compute_gmacs"].to_numpy()), rtol=1e-6)
    slope, low, high = isoflop_exponent(minima)
    assert slope == pytest.approx(0.5) and low <= slope <= high


def test_an_isoflop_exponent_needs_three_parabolas():
    runs = draw_runs(TRUTHS["chinchilla"], 0.0, np.random.default_rng(0), tuple(a[:10] for a in _isoflop_grid()))
    with pytest.raises(UnfitPoints, match="needs three"):
        isoflop_exponent(isoflop_minima(runs))
