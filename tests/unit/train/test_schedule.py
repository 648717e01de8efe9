"""Warm-up and cosine, at points known by hand."""

import pytest

from clip_scaling.config import Recipe
from clip_scaling.errors import TrainingError
from clip_scaling.train.schedule import cosine, warmup_steps


def test_cosine_rises_linearly_to_its_peak_and_falls_to_zero() -> None:
    rates = [cosine(step, steps=110, warmup=10, peak=1.0) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.5)
    assert rates[109] == pytest.approx(0.0, abs=3e-4)


def test_warm_up_is_a_share_of_the_run_or_a_number_of_steps() -> None:
    assert warmup_steps(Recipe(warmup_fraction=0.1), 500) == 50
    assert warmup_steps(Recipe(warmup_steps=7), 500) == 7


def test_a_warm_up_that_fills_the_run_is_refused() -> None:
    with pytest.raises(TrainingError, match="not shorter than the run of 7 steps"):
        warmup_steps(Recipe(warmup_steps=7), 7)
