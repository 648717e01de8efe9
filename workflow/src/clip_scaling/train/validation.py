"""A small evaluation while a cell trains: the points of its learning curves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..evaluate.validation import Validator


def validation_steps(start: int, steps: int, times: int) -> frozenset[int]:
    """The steps after which a run from `start` to `steps` is evaluated: evenly spread, the last included."""
    return frozenset(start + round((steps - start) * number / times) for number in range(1, times + 1)) - {start}


def make_validation(
    model: Any,
    manifests: list[Path],
    merges: Path,
    model_config: dict[str, Any],
    device: torch.device,
    max_samples: int,
    batch_size: int,
    loss_batch_size: int,
) -> Callable[[], dict[str, float]]:
    """A function that measures the model, as it then is, on the first samples of each set: {"set/metric": value}."""
    found = Validator(manifests, merges, max_samples, batch_size, loss_batch_size).of(model, model_config, device)
    return lambda: dict(found.run())
