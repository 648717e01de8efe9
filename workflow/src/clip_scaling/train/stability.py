"""Losses and gradients that a healthy run does not have: not finite, or far above the recent ones."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ..study.config.training import Instability

_NORMAL = 1.4826
"""Median absolute deviation -> standard deviation, for a normal distribution."""
_LEAST_SPREAD = 0.01
"""A loss that hardly moves has no spread to speak of: this share of its level counts as one."""
WRONG = (None, "nonfinite_loss", "nonfinite_gradient", "spike")
"""What can be wrong with a step, by the code that `DeviceWatch` gives it."""


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
            rise = self.rules.spike_factor * max(spread, _LEAST_SPREAD * abs(middle))
            if loss > middle + max(rise, self.rules.spike_nats):
                return "spike"
        self.losses.append(loss)
        return None


class DeviceWatch:
    """`Watch` on a device: the same verdicts, in the same float64, without the host.

    blocked: () float32, 1 from the first unsound step on until the host says how to go on.
    """

    def __init__(self, rules: Instability, device: torch.device) -> None:
        self.rules, self.device = rules, device
        self.blocked = torch.zeros((), device=device)
        self.recent = torch.zeros(rules.window, dtype=torch.float64, device=device)
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.issued = 0

    def restart(self, losses: list[float]) -> None:
        """Begin with these recent losses, oldest first."""
        padded = torch.tensor(losses + [0.0] * (self.rules.window - len(losses)), dtype=torch.float64)
        self.recent.copy_(padded)
        self.count.fill_(len(losses))
        self.issued = len(losses)
        self.clear()

    def clear(self) -> None:
        """Let steps move the weights again."""
        self.blocked.zero_()

    def judge(self, loss: Tensor, gradient_norm: Tensor, *, ignore_gradient: bool = False) -> Tensor:
        """What is wrong with a step, () int64: its place in WRONG. loss, gradient_norm: () float64.

        An unsound step blocks. The loss of a sound one joins the recent ones, unless an earlier step blocks.
        """
        code = self._spike(loss) * WRONG.index("spike")
        if not ignore_gradient:
            code = torch.where(torch.isfinite(gradient_norm), code, WRONG.index("nonfinite_gradient"))
        code = torch.where(torch.isfinite(loss), code, WRONG.index("nonfinite_loss"))
        self.blocked.copy_(torch.maximum(self.blocked, (code > 0).to(self.blocked.dtype)))
        joins = self.blocked == 0
        place = (self.count % self.rules.window).reshape(1)
        self.recent.scatter_(0, place, torch.where(joins, loss, self.recent.gather(0, place)))
        self.count.add_(joins)
        self.issued += 1
        return code

    def _spike(self, loss: Tensor) -> Tensor:
        """Whether the loss is a spike, () int64."""
        if self.rules.spike_factor is None or self.issued < self.rules.window:
            return torch.zeros((), dtype=torch.int64, device=self.device)
        middle = _median(self.recent)
        spread = _NORMAL * _median((self.recent - middle).abs())
        rise = self.rules.spike_factor * torch.maximum(spread, _LEAST_SPREAD * middle.abs())
        is_spike = loss > middle + rise.clamp(min=self.rules.spike_nats)
        return (is_spike & (self.count >= self.rules.window)).long()


def _median(values: Tensor) -> Tensor:
    """As statistics.median: of an even number of values, (n,), the mean of the two in the middle; ()."""
    ordered, half = values.sort().values, len(values) // 2
    return ordered[half] if len(values) % 2 else (ordered[half - 1] + ordered[half]) / 2


def finite(value: float) -> float | None:
    """The value, or None where it is not finite: JSON has no NaN."""
    return value if math.isfinite(value) else None
