"""The training loop: step after step, saved and watched, and the same bits however often it is interrupted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import torch

from ..errors import TrainingError
from ..models.checkpoint import read_state
from ..study.config.training import Recipe
from .distributed import Ranks
from .engine import Engine
from .inputs import Input
from .monitor import Monitor, point
from .order import add_digests, order_digest, rank_positions
from .schedule import Schedule
from .signals import received
from .stability import Event, Watch, finite
from .state import StateFolder

log = logging.getLogger(__name__)
POINTS = 100
"""Points of a curve, about."""


@dataclass
class Progress:
    """How far a run has come: what its state holds beside the weights.

    shift: batches that were passed over after rollbacks. digest: of the order seen, all ranks together.
    tail_sum, tail_steps: of the losses of the last tenth of the steps. seconds: of training, all attempts.
    """

    step: int = 0
    shift: int = 0
    digest: int = 0
    lost: int = 0
    seconds: float = 0.0
    tail_sum: float = 0.0
    tail_steps: int = 0
    losses: list[float] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Outcome:
    """How a call of `Loop.run` ended: `trained`, `saved` on a signal, or `diverged`."""

    state: Literal["trained", "saved", "diverged"]
    progress: Progress

    @property
    def final_loss(self) -> float | None:
        """Mean loss of the last tenth of the steps, nats; None before it."""
        return self.progress.tail_sum / self.progress.tail_steps if self.progress.tail_steps else None


class Loop:
    """A run of `stop` steps, part of a schedule of `steps` steps (None: a trunk, which has no end of its own).

    origin: the step that the run began after: 0, or its branch point.
    identity: what the states of this run have in common; a state of another identity is not continued.
    checkpoint_seconds: between saved states. validate: called after the steps in `validation_steps`; gives metrics.
    """

    def __init__(
        self,
        engine: Engine,
        data: Input,
        schedule: Schedule,
        folder: StateFolder,
        *,
        origin: int = 0,
        stop: int,
        steps: int | None,
        identity: str,
        checkpoint_seconds: float = 900.0,
        monitor: Monitor | None = None,
        validate: Callable[[], dict[str, float]] | None = None,
        validation_steps: frozenset[int] = frozenset(),
    ) -> None:
        self.engine, self.data, self.schedule, self.folder = engine, data, schedule, folder
        self.recipe: Recipe = engine.recipe
        self.ranks: Ranks = engine.ranks
        self.origin, self.stop, self.steps, self.identity = origin, stop, steps, identity
        self.checkpoint_seconds, self.monitor = checkpoint_seconds, monitor
        self.validate, self.validation_steps = validate, validation_steps
        self.progress = Progress()
        self.watch = Watch(self.recipe.instability)
        self.unsaved_digest = self.unsaved_lost = 0  # of this rank, since the last state

    # ------------------------------------------------------------ states

    def start_from(self, state: dict[str, Any]) -> None:
        """Take a state: another run's, to branch off, or this run's, to continue."""
        self.engine.load(state)
        self.progress = Progress(**state["progress"])
        self.watch = Watch(self.recipe.instability, self.progress.losses)
        self.unsaved_digest = self.unsaved_lost = 0

    def continue_saved(self) -> bool:
        """Continue from the newest whole state of the folder, if there is one of this run."""
        found = self.ranks.tell(self.folder.newest_whole() if self.ranks.is_main else None)
        if found is None:
            return False
        state = read_state(found.path)
        if state["identity"] != self.identity:
            if self.ranks.is_main:
                log.warning(f"{self.folder.root}: states of another recipe or other data are deleted; starting anew")
                self.folder.delete()
            return False
        self.start_from(state)
        if self.ranks.is_main:
            log.info(f"continuing after step {found.step} from {found.path.name[:27]}...")
        return True

    def state(self) -> dict[str, Any]:
        """The whole state, on the main rank. All ranks must call it."""
        parts = self.ranks.gather((self.unsaved_digest, self.unsaved_lost))
        self.progress.digest = add_digests(self.progress.digest, *(digest for digest, _ in parts))
        self.progress.lost += sum(lost for _, lost in parts)
        self.unsaved_digest = self.unsaved_lost = 0
        self.progress.losses = list(self.watch.losses)
        return {**self.engine.state(), "progress": asdict(self.progress), "identity": self.identity}

    def save(self) -> None:
        """Write a state."""
        state = self.state()
        if self.ranks.is_main:
            self.folder.save(self.progress.step, state)
        del state

    # ------------------------------------------------------------ steps

    def run(self) -> Outcome:
        """Train to the end, to a signal, or to divergence."""
        now = self.progress
        every = max(1, (self.steps or self.stop) // POINTS)
        begun = last_saved = time.monotonic()
        seconds_before, waited = now.seconds, 0.0
        last_point = (now.seconds, now.step * self.recipe.global_batch_size)
        rolls_back = self.recipe.instability.policy == "rollback"
        if rolls_back:
            self.folder.protected = self._window_start()
            if now.step == self.origin:
                self.save()
        while now.step < self.stop:
            rate = self.schedule(now.step)
            asked = time.monotonic()
            positions = rank_positions(
                now.step + now.shift, self.recipe.global_batch_size, self.ranks.rank, self.ranks.size
            )
            batch = self.data.batch(positions)
            waited += time.monotonic() - asked
            loss, norm = self.engine.gradients(batch, now.step + now.shift)
            is_due = self.ranks.is_main and time.monotonic() - last_saved >= self.checkpoint_seconds
            loss_sum, signalled, due = self.ranks.sum(loss, received() is not None, is_due)
            loss = loss_sum / self.ranks.size
            wrong = self.watch.judge(loss, norm, ignore_gradient=self.recipe.precision == "amp")
            if wrong is not None:
                action = self._action()
                event = Event(now.step + 1, wrong, finite(loss), finite(norm), action)
                events = [*now.events, event.as_dict()]
                if self.ranks.is_main:
                    log.warning(f"instability at step {event.step}: {wrong}, loss={loss:.4g} norm={norm:.4g}: {action}")
                if action == "stop":
                    now.events = events
                    return Outcome("diverged", now)
                if action == "rollback":
                    bad = now.step + now.shift
                    now = self._roll_back()
                    now.shift, now.events = bad + 1 - now.step, events
                    continue
                now.events = events
                self.engine.skip()
            else:
                self.engine.move(rate)
            self.unsaved_digest = add_digests(self.unsaved_digest, order_digest(positions, batch.indices))
            self.unsaved_lost += batch.lost
            now.step += 1
            now.seconds = seconds_before + time.monotonic() - begun
            if self.steps is not None and wrong is None and now.step > self.steps - max(1, self.steps // 10):
                now.tail_sum, now.tail_steps = now.tail_sum + loss, now.tail_steps + 1
            if now.step % every == 0 or now.step in (1, self.stop):
                self._check_lost()
                if self.monitor is not None:
                    samples = now.step * self.recipe.global_batch_size
                    self.monitor.add(
                        point(
                            now.step,
                            samples,
                            loss,
                            rate,
                            norm,
                            self.engine.logit_scale,
                            since=last_point,
                            waited=waited,
                            seconds=now.seconds,
                        )  # fmt: skip
                    )
                    last_point, waited = (now.seconds, samples), 0.0
            if now.step in self.validation_steps:
                self._validate()
            if rolls_back and now.step % self.recipe.instability.window == 0:
                self.folder.protected = now.step
                due = 1.0
            if signalled:
                self.save()
                return Outcome("saved", now)
            if due and now.step < self.stop:
                self.save()
                last_saved = time.monotonic()
        return Outcome("trained", now)

    def _action(self) -> str:
        rules = self.recipe.instability
        return "stop" if len(self.progress.events) >= rules.max_events else rules.policy

    def _roll_back(self) -> Progress:
        """Back to the state of the last whole window: the same place whenever the run was interrupted."""
        target = self._window_start()
        states = self.folder.saved() if self.ranks.is_main else []
        found = self.ranks.tell(next((state for state in states if state.step == target), None))
        if found is None:
            raise TrainingError(
                f"{self.folder.root}: the state of step {target}, to roll back to, is gone. "
                "Delete the folder and run the cell again."
            )
        self.start_from(read_state(found.path))
        if self.monitor is not None:
            self.monitor.rewind(target)
        return self.progress

    def _window_start(self) -> int:
        window = self.recipe.instability.window
        return max(self.origin, self.progress.step // window * window)

    def _check_lost(self) -> None:
        lost = self.progress.lost + self.ranks.sum(self.unsaved_lost)[0]
        total = self.stop * self.recipe.global_batch_size
        if lost > self.recipe.max_lost_fraction * total:
            raise TrainingError(
                f"{lost:.0f} samples could not be read, more than recipe.max_lost_fraction "
                f"{self.recipe.max_lost_fraction:g} of {total}. Prepare the data again, or raise the fraction."
            )

    def _validate(self) -> None:
        if self.validate is None:
            return
        # Every rank takes part: a sharded model cannot be run by one alone.
        self.engine.model.base.eval()
        with torch.no_grad():
            metrics = self.validate()
        self.engine.model.base.train()
        if self.monitor is not None:
            now = self.progress
            self.monitor.validated(now.step, now.step * self.recipe.global_batch_size, metrics)
