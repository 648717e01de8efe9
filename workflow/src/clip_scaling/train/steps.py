"""Steps as the loop asks for them: judged by the host one by one, or on the device while the host is ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .engine import Engine
from .inputs import Batch
from .stability import WRONG, DeviceWatch, Watch

LAG = 3
"""Steps on a GPU that are issued before the results of one are read."""


def lag_on(device: torch.device) -> int:
    """Steps that a run on this device issues before the results of one are read."""
    return LAG if device.type == "cuda" else 0


@dataclass(frozen=True)
class Result:
    """What a step gave, all ranks together. loss: nats; gradient_norm: before clipping; logit_scale: after the step.

    wrong: why the step is not sound and moved nothing; None for a sound one. is_signalled, is_due: a state is to be
    saved, for a signal or for the time since the last one.
    """

    loss: float
    gradient_norm: float
    logit_scale: float
    wrong: str | None
    is_signalled: bool
    is_due: bool


Flags = Callable[[], tuple[bool, bool]]
"""Whether this rank has a signal, and whether a state is due: asked once the gradient is made."""


class Steps(Protocol):
    """Makes the steps of a run. losses: of the recent sound steps whose results were read."""

    losses: deque[float]

    def make(self, batch: Batch, draw: int, rate: float, will_skip: bool, flags: Flags) -> Callable[[], Result]:
        """Make a step; returns the reader of its result.

        draw: number of the batch in the run. rate: the learning rate. will_skip: an unsound step would be skipped.
        """
        ...

    def skip(self) -> None:
        """Go on after an unsound step that is passed over."""
        ...

    def restart(self, losses: list[float]) -> None:
        """Go on from a state with these recent losses."""
        ...


class ImmediateSteps:
    """The host waits for each gradient, judges it, and moves the weights or not: the fastest on a CPU."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.restart([])

    def restart(self, losses: list[float]) -> None:
        self.watch = Watch(self.engine.recipe.instability, losses)
        self.losses = self.watch.losses

    def make(self, batch: Batch, draw: int, rate: float, will_skip: bool, flags: Flags) -> Callable[[], Result]:
        engine, ranks = self.engine, self.engine.ranks
        loss, norm = engine.gradients(batch, draw)
        loss_sum, signalled, due = ranks.sum(loss, *flags())
        loss = loss_sum / ranks.size
        wrong = self.watch.judge(loss, norm, ignore_gradient=engine.recipe.precision == "amp")
        if wrong is None:
            engine.move(rate)
        result = Result(loss, norm, engine.logit_scale, wrong, bool(signalled), bool(due))
        return lambda: result

    def skip(self) -> None:
        self.engine.skip()


class DelayedSteps:
    """The device judges each gradient and moves the weights or not; the host reads of it when it likes.

    After an unsound step the weights stand still, whatever is issued, until the host says how to go on.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine, self.device = engine, engine.ranks.device
        self.watch = DeviceWatch(engine.recipe.instability, self.device)
        self.restart([])

    def restart(self, losses: list[float]) -> None:
        self.losses: deque[float] = deque(losses, maxlen=self.engine.recipe.instability.window)
        self.watch.restart(list(self.losses))

    def make(self, batch: Batch, draw: int, rate: float, will_skip: bool, flags: Flags) -> Callable[[], Result]:
        engine, ranks = self.engine, self.engine.ranks
        own_loss, norm = engine.make_gradients(batch, draw)
        # Numbers of the host are filled in: a tensor made of them there would wait for the device.
        asked = [torch.full((), float(flag), dtype=torch.float64, device=self.device) for flag in flags()]
        sums = torch.stack([own_loss.double(), *asked])
        ranks.sum_in_place(sums)
        loss = sums[0] / ranks.size
        was_blocked = self.watch.blocked.clone()
        code = self.watch.judge(loss, norm.double(), ignore_gradient=engine.recipe.precision == "amp")
        engine.move_unless(self.watch.blocked, rate)
        # A skipped step teaches the gradient scaler, as in `Engine.skip`; what comes after it is not there yet.
        engine.precision.update_unless(was_blocked if will_skip else self.watch.blocked)
        scale = engine.model.base.logit_scale.detach().exp().double()
        return self._reader(torch.stack([loss, norm.double(), scale, code.double(), sums[1], sums[2]]), rate)

    def _reader(self, values: Tensor, rate: float) -> Callable[[], Result]:
        if values.is_cuda:
            host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
            host.copy_(values, non_blocking=True)
            copied = torch.cuda.Event(blocking=True)  # the host sleeps: its cores gather and decode
            copied.record()
            return lambda: self._read(host, rate, copied)
        return lambda: self._read(values, rate)

    def _read(self, values: Tensor, rate: float, copied: torch.cuda.Event | None = None) -> Result:
        if copied is not None:
            copied.synchronize()
        loss, norm, scale, code, signalled, due = values.tolist()
        wrong = WRONG[int(code)]
        if wrong is None:
            self.losses.append(loss)
            self.engine.set_rate(rate)
        return Result(loss, norm, scale, wrong, bool(signalled), bool(due))

    def skip(self) -> None:
        self.watch.clear()
