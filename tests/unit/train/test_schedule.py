"""Warm-up, cosine and warm-up-stable-decay, at points known by hand."""

import pytest

from clip_scaling.errors import TrainingError
from clip_scaling.study.config.training import Recipe
from clip_scaling.study.grid import cooldown_start
from clip_scaling.train.schedule import cosine, schedule_of, warmup_steps


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


@pytest.mark.parametrize(("shape", "quarter"), [("linear", 0.75), ("1-sqrt", 0.5)])
def test_wsd_warms_up_holds_and_cools_down(shape: str, quarter: float) -> None:
    recipe = Recipe(schedule="wsd", learning_rate=1.0, warmup_steps=4, cooldown_fraction=0.2, cooldown_shape=shape)
    rate = schedule_of(recipe, 100)
    assert [rate(step) for step in (0, 1, 3, 4, 50, 79)] == [0.25, 0.5, 1.0, 1.0, 1.0, 1.0]
    assert rate(80) == 1.0
    assert rate(85) == pytest.approx(quarter)  # a quarter of the 20 steps that cool down
    assert 0 < rate(99) < 0.06


def test_a_trunk_is_what_all_budgets_have_in_common() -> None:
    recipe = Recipe(schedule="wsd", warmup_steps=5, cooldown_fraction=0.25)
    trunk = schedule_of(recipe, None)
    for steps in (40, 400):
        rate = schedule_of(recipe, steps)
        assert all(rate(step) == trunk(step) for step in range(cooldown_start(steps, 0.25)))


def test_a_cooldown_has_a_step_at_least() -> None:
    assert cooldown_start(100, 0.2) == 80
    assert cooldown_start(2, 0.1) == 1


def test_cosine_has_no_trunk() -> None:
    with pytest.raises(TrainingError, match="wsd"):
        schedule_of(Recipe(), None)
