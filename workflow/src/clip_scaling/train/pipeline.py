"""Steps in flight: issued in the order of the run, their results read in the same order some steps later."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .engine import Engine
from .inputs import Batch, Input
from .order import Indices
from .steps import DelayedSteps, Flags, ImmediateSteps, Result, Steps


@dataclass(frozen=True)
class Issued:
    """A step in flight. indices, lost: of its batch. text_tokens: that the text tower takes of it.

    rate: the learning rate. waited: seconds for the batch. batch: where the step may have to be made again.
    """

    positions: Indices
    indices: Indices
    lost: int
    text_tokens: int
    rate: float
    waited: float
    read: Callable[[], Result]
    batch: Batch | None


class Pipeline:
    """The steps of a run between its data and its engine.

    lag: steps issued before the results of one are read. 0: each is read at once. What a run does is the same.
    """

    def __init__(self, engine: Engine, data: Input, lag: int) -> None:
        self.engine, self.data, self.lag = engine, data, lag
        self.steps: Steps = DelayedSteps(engine) if lag else ImmediateSteps(engine)
        self.keeps_batches = bool(lag) and engine.recipe.instability.policy == "skip"
        self.flying: deque[Issued] = deque()
        self._again: deque[tuple[Indices, Batch]] = deque()
        self._failure: Exception | None = None

    @property
    def is_full(self) -> bool:
        """Whether a result must be read before another step is issued."""
        return len(self.flying) > self.lag or (self._failure is not None and bool(self.flying))

    def issue(self, positions: Indices, draw: int, rate: float, will_skip: bool, flags: Flags) -> None:
        """Issue the step with the batch at these positions; the rest as in `Steps.make`.

        A batch that cannot be had is an error once the steps before it are read: they may end the run.
        """
        asked = time.monotonic()
        try:
            batch = self._batch(positions)
        except Exception as error:
            if not self.flying:
                raise
            self._failure = error
            return
        waited = time.monotonic() - asked
        read = self.steps.make(batch, draw, rate, will_skip, flags)
        kept = batch if self.keeps_batches else None
        tokens = int(self.engine.lengths(batch).sum())
        self.flying.append(Issued(positions, batch.indices, batch.lost, tokens, rate, waited, read, kept))

    def _batch(self, positions: Indices) -> Batch:
        if self._failure is not None:
            raise self._failure
        if self._again:
            expected, batch = self._again.popleft()
            assert np.array_equal(positions, expected), "steps after a skipped one are made again in their order"
            return batch
        return self.data.batch(positions)

    def read(self) -> tuple[Issued, Result]:
        """Read the oldest step in flight."""
        issued = self.flying.popleft()
        return issued, issued.read()

    def skip(self) -> None:
        """Go on after the step read last, which was not sound: those in flight moved nothing and are made again."""
        for issued in reversed(self.flying):
            assert issued.batch is not None, "batches are kept where steps can be skipped"
            self._again.appendleft((issued.positions, issued.batch))
        self.flying.clear()
        self._failure = None
        self.steps.skip()

    def restart(self, losses: list[float]) -> None:
        """Go on from a state: nothing is in flight."""
        self.flying.clear()
        self._again.clear()
        self._failure = None
        self.steps.restart(losses)
