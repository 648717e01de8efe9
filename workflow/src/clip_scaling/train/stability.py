"""Losses and gradients that a healthy run does not have: not finite, or far above the recent ones."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from ..study.config.training import Instability

_NORMAL = 1.4826
"""Median absolute deviation -> standard deviation, for a normal distribution."""


@dataclass(frozen=True)
class Event:
    """One instability: at which step (from 1), what was seen, and what was done."""

    step: int
    kind: str
    loss: float | None
    gradient_norm: float | None
    action: str

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON values; what is not finite is None."""
        return asdict(self)


class Watch:
    """Judges each step's loss and gradient norm against the recent ones."""

    def __init__(self, rules: Instability, losses: list[float] | None = None) -> None:
        self.rules = rules
        self.losses: deque[float] = deque(losses or [], maxlen=rules.window)

    def judge(self, loss: float, gradient_norm: float, *, ignore_gradient: bool = False) -> str | None:
        """What is wrong with a step: `nonfinite_loss`, `nonfinite_gradient`, `spike`, or None.

        ignore_gradient: an fp16 scaler that is still finding its scale makes infinite gradients of its own.
        A good step's loss joins the recent ones. Spikes are judged once the window is full.
        """
        if not math.isfinite(loss):
            return "nonfinite_loss"
        if not math.isfinite(gradient_norm) and not ignore_gradient:
            return "nonfinite_gradient"
        if self.rules.spike_factor is not None and len(self.losses) == self.rules.window:
            middle = median(self.losses)
            spread = _NORMAL * median(abs(value - middle) for value in self.losses)
            # A loss that hardly moves has no spread to speak of: a hundredth of its level counts as one.
            rise = self.rules.spike_factor * max(spread, 0.01 * abs(middle))
            if loss > middle + max(rise, self.rules.spike_nats):
                return "spike"
        self.losses.append(loss)
        return None


def finite(value: float) -> float | None:
    """The value, or None where it is not finite: JSON has no NaN."""
    return value if math.isfinite(value) else None
