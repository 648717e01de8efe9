"""Intervals against values known from the literature or by closed form."""

import numpy as np
import pytest

from clip_scaling.evaluate.uncertainty import mean_interval, recall_interval, wilson


def test_wilson_agrees_with_the_textbook() -> None:
    # 1 of 10 (Newcombe 1998): 0.0179 to 0.4042 for the Wilson score interval without continuity correction.
    assert wilson(0.1, 10) == pytest.approx((0.0179, 0.4042), abs=5e-4)


def test_wilson_at_the_ends_stays_inside() -> None:
    # Closed form at k = 0: high = z^2 / (n + z^2).
    low, high = wilson(0.0, 50)
    assert low == pytest.approx(0.0, abs=1e-12) and high == pytest.approx(1.959964**2 / (50 + 1.959964**2), rel=1e-6)


def test_the_interval_of_a_mean_is_normal() -> None:
    values = np.array([1.0, 3.0])
    assert mean_interval(values) == pytest.approx((2 - 1.959964, 2 + 1.959964))


def test_the_recall_interval_has_the_width_of_binomial_classes() -> None:
    # Two classes of 400, half of each right: sd of the mean of two shares is sqrt(.25 / 400 / 2).
    target = np.repeat([0, 1], 400)
    correct = np.tile([True, False], 400)
    low, high = recall_interval(correct, target, draws=4000)
    assert (low + high) / 2 == pytest.approx(0.5, abs=0.005)
    assert high - low == pytest.approx(2 * 1.96 * (0.25 / 800) ** 0.5, rel=0.08)


def test_wilsons_interval_is_scipys() -> None:
    from scipy import stats

    for hits, n in ((0, 7), (3, 7), (7, 7), (812, 1000)):
        expected = stats.binomtest(hits, n).proportion_ci(confidence_level=0.95, method="wilson")
        assert wilson(hits / n, n) == pytest.approx((expected.low, expected.high), abs=1e-9)
