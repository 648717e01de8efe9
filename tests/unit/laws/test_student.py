import numpy as np
import pytest
from scipy import stats

from clip_scaling.laws.student import slope_and_error, t_reach


def test_quantiles_are_the_tables():
    # Student's table: 12.706 at 1 degree of freedom, 2.776 at 4, both 95 % two-sided; F(1, 4) at 95 % is 7.709.
    assert t_reach(0.95, 1) == pytest.approx(12.706, abs=5e-4)
    assert t_reach(0.95, 4) == pytest.approx(2.776, abs=5e-4)
    assert t_reach(0.95, 4) ** 2 == pytest.approx(7.709, abs=5e-4)


def test_slope_and_its_standard_error_are_those_of_scipy_s_linregress():
    x, y = np.random.default_rng(0).normal(size=(2, 9))
    expected = stats.linregress(x, y)
    assert slope_and_error(x, y) == pytest.approx((expected.slope, expected.stderr))
