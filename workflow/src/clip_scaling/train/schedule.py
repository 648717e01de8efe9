"""Learning-rate schedules, as multipliers of nothing: they return the rate itself."""

from __future__ import annotations

import math

from ..config import Recipe
from ..errors import TrainingError


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
    """Rate at a step (from 0): linear to `peak` over `warmup` steps, then half a cosine to 0, as open_clip's."""
    if step < warmup:
        return peak * (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup))) * peak
