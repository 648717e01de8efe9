"""Learning-rate schedules, as functions of the step (from 0) that return the rate itself."""

from __future__ import annotations

import math
from collections.abc import Callable

from ..errors import TrainingError
from ..study.config.training import Recipe
from ..study.grid import cooldown_start

Schedule = Callable[[int], float]


def warmup_steps(recipe: Recipe, steps: int) -> int:
    """Steps of linear warm-up of a run. TrainingError where they leave no step for the rest."""
    if recipe.warmup_steps is not None:
        warmup = recipe.warmup_steps
    else:
        warmup = round((recipe.warmup_fraction or 0.0) * steps)
    if warmup >= steps:
        raise TrainingError(
            f"warm-up of {warmup} steps is not shorter than the run of {steps} steps. "
            "Lower warmup_steps or warmup_fraction."
        )
    return warmup


def cosine(step: int, steps: int, warmup: int, peak: float) -> float:
    """Linear to `peak` over `warmup` steps, then half a cosine to 0, as open_clip's."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) * peak


def trunk(step: int, warmup: int, peak: float) -> float:
    """Linear to `peak` over `warmup` steps, then `peak`: the part of warm-up-stable-decay that all budgets share."""
    return peak * min(1.0, (step + 1) / warmup) if warmup else peak


def cooldown(step: int, start: int, steps: int, peak: float, shape: str) -> float:
    """From `peak` at step `start` to 0 at `steps`: `linear`, or `1-sqrt` (Haegele et al. 2024)."""
    done = (step - start) / (steps - start)
    return peak * (1 - (math.sqrt(done) if shape == "1-sqrt" else done))


def schedule_of(recipe: Recipe, steps: int | None) -> Schedule:
    """The schedule of a run of `steps` steps; None is a trunk, which has no end."""
    peak = recipe.learning_rate
    if recipe.schedule == "cosine":
        if steps is None:
            raise TrainingError("a trunk needs recipe.schedule: wsd")
        warmup = warmup_steps(recipe, steps)
        return lambda step: cosine(step, steps, warmup, peak)
    warmup = recipe.warmup_steps or 0
    if steps is None:
        return lambda step: trunk(step, warmup, peak)
    start = cooldown_start(steps, recipe.cooldown_fraction)
    return lambda step: (
        trunk(step, warmup, peak) if step < start else cooldown(step, start, steps, peak, recipe.cooldown_shape)
    )
