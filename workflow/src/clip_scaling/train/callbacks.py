"""What happens beside the steps of a run: points of its curve, and validations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Protocol

import torch

from ..records.curve import TrainingPoint
from .loop import Callback, Loop, Step
from .monitor import Monitor, memory_mb
from .stability import finite


class Evaluator(Protocol):
    """Measures one model as it now is."""

    def run(self) -> Iterable[tuple[str, float]]:
        """("set/metric", value) of every measurement. All ranks must call it."""
        ...


class Validation(Protocol):
    """What a run is validated on. The script gives one: training itself knows nothing of evaluation."""

    def of(self, model: Any, model_config: dict[str, Any], device: torch.device) -> Evaluator:
        """The evaluator of a model in training."""
        ...


class Curve(Callback):
    """Gives the monitor of the main rank a point of the curve, about a hundred times a run."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self._seconds, self._samples, self._waited = 0.0, 0, 0.0

    def before_run(self, loop: Loop) -> None:
        self._begin(loop)

    def after_step(self, loop: Loop, step: Step) -> None:
        self._waited += step.waited
        if not loop.is_at_point:
            return
        now, batch = loop.progress, loop.recipe.global_batch_size
        elapsed = max(now.seconds - self._seconds, 1e-9)
        self.monitor.add(
            TrainingPoint(
                step=now.step,
                samples=now.step * batch,
                loss=finite(step.result.loss),
                learning_rate=step.learning_rate,
                gradient_norm=finite(step.result.gradient_norm),
                logit_scale=step.result.logit_scale,
                pairs_per_second=(now.step * batch - self._samples) / elapsed,
                data_wait_share=min(1.0, self._waited / elapsed),
                memory_mb=memory_mb(),
                seconds=now.seconds,
            )
        )
        self._begin(loop)

    def after_rollback(self, loop: Loop) -> None:
        self.monitor.rewind(loop.progress.step)

    def _begin(self, loop: Loop) -> None:
        """Rates are since the point before."""
        self._seconds, self._samples = loop.progress.seconds, loop.progress.step * loop.recipe.global_batch_size
        self._waited = 0.0


class Validate(Callback):
    """Evaluates the model after some steps. Every rank takes part: a sharded model cannot be run by one alone."""

    def __init__(self, evaluator: Evaluator, steps: frozenset[int], monitor: Monitor | None) -> None:
        self.evaluator, self.steps, self.monitor = evaluator, steps, monitor

    def needs_model_after(self, step: int) -> bool:
        return step in self.steps

    def after_step(self, loop: Loop, step: Step) -> None:
        now = loop.progress
        if now.step not in self.steps:
            return
        with loop.engine.model.evaluated():
            metrics = dict(self.evaluator.run())
        if self.monitor is not None:
            self.monitor.validated(now.step, now.step * loop.recipe.global_batch_size, metrics)


def validation_steps(start: int, steps: int, times: int) -> frozenset[int]:
    """The steps after which a run from `start` to `steps` is evaluated: evenly spread, the last included."""
    return frozenset(start + round((steps - start) * number / times) for number in range(1, times + 1)) - {start}
