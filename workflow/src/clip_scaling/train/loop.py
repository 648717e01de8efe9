"""The training loop: step after step, saved and watched, and the same bits however often it is interrupted."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from ..errors import TrainingError
from ..models.checkpoint import read_state
from ..study.config.training import Recipe
from .distributed import Ranks
from .engine import Engine
from .inputs import Input
from .order import add_digests, order_digest, rank_positions
from .pipeline import Issued, Pipeline
from .schedule import Schedule
from .signals import received
from .stability import Event, finite
from .state import StateFolder, StateWriter
from .steps import Result
from .watchdog import Watchdog

log = logging.getLogger(__name__)
POINTS = 100
"""Points of a curve, about."""


@dataclass
class Progress:
    """How far a run has come: what its state holds beside the weights.

    text_tokens: that the text tower took, all ranks together; None in a run that an older state began.
    shift: batches that were passed over after rollbacks. digest: of the order seen, all ranks together.
    tail_sum, tail_steps: of the losses of the last tenth of the steps. seconds: of training, all attempts.
    """

    step: int = 0
    shift: int = 0
    digest: int = 0
    lost: int = 0
    text_tokens: int | None = 0
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


@dataclass(frozen=True)
class Stretch:
    """Which steps are made. stop: the last. steps: of the schedule; None for a trunk, which has no end of its own.

    origin: the step that the run began after: 0, or its branch point. identity: what the states of this run have in
    common; a state of another identity is not continued. checkpoint_seconds: between saved states.
    lag: steps issued before the results of one are read.
    """

    stop: int
    steps: int | None
    identity: str
    origin: int = 0
    checkpoint_seconds: float = 900.0
    lag: int = 0


@dataclass(frozen=True)
class Step:
    """What one step gave. learning_rate: of the step; waited: seconds for data; result: of the engine."""

    learning_rate: float
    waited: float
    result: Result


class Callback:
    """Something that happens beside the steps. Every rank calls it; what it does not define is nothing."""

    def before_run(self, loop: Loop) -> None:
        """The loop begins, or goes on."""

    def needs_model_after(self, step: int) -> bool:
        """Whether `after_step` looks at the model after this step: none is issued beyond it until then."""
        return False

    def after_step(self, loop: Loop, step: Step) -> None:
        """A step has been made and counted."""

    def after_rollback(self, loop: Loop) -> None:
        """The run has gone back to an earlier step."""


class Loop:
    """A run over a stretch of steps, with what happens beside them."""

    def __init__(
        self,
        engine: Engine,
        data: Input,
        schedule: Schedule,
        folder: StateFolder,
        stretch: Stretch,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.engine, self.data, self.schedule, self.folder = engine, data, schedule, folder
        self.recipe: Recipe = engine.recipe
        self.ranks: Ranks = engine.ranks
        self.origin, self.stop, self.steps = stretch.origin, stretch.stop, stretch.steps
        self.identity, self.checkpoint_seconds = stretch.identity, stretch.checkpoint_seconds
        self.callbacks = list(callbacks)
        self.progress = Progress()
        self.pipeline = Pipeline(engine, data, stretch.lag)
        self.watchdog = Watchdog()
        # What comes from a GPU is a copy.
        self.writer = StateWriter(folder, is_ahead=self.ranks.device.type == "cuda")
        self.is_save_asked = self.is_leave_asked = False
        self.unsaved_digest = self.unsaved_lost = self.unsaved_tokens = 0  # of this rank, since the last state

    # ------------------------------------------------------------ states

    def start_from(self, state: dict[str, Any]) -> None:
        """Take a state: another run's, to branch off, or this run's, to continue."""
        self.engine.load(state)
        self.progress = Progress(**({"text_tokens": None} | state["progress"]))
        self.pipeline.restart(self.progress.losses)
        self.unsaved_digest = self.unsaved_lost = self.unsaved_tokens = 0

    def continue_saved(self) -> bool:
        """Continue from the newest whole state of the folder, if there is one of this run."""
        found = self.ranks.tell(self.folder.newest_whole() if self.ranks.is_main else None)
        if found is None:
            return False
        state = read_state(found.path)
        if state["identity"] != self.identity:
            if self.ranks.is_main:
                log.warning(f"{self.folder.root}: states of another recipe or other data are deleted; starting over")
                self.folder.delete()
            return False
        self.start_from(state)
        if self.ranks.is_main:
            log.info(f"continuing after step {found.step} from {found.path.name[:27]}...")
        return True

    def state(self) -> dict[str, Any]:
        """The whole state, on the main rank. All ranks must call it."""
        parts = self.ranks.gather((self.unsaved_digest, self.unsaved_lost, self.unsaved_tokens))
        digests, lost, tokens = zip(*parts, strict=True)
        self.progress.digest = add_digests(self.progress.digest, *digests)
        self.progress.lost += sum(lost)
        if self.progress.text_tokens is not None:
            self.progress.text_tokens += sum(tokens)
        self.unsaved_digest = self.unsaved_lost = self.unsaved_tokens = 0
        self.progress.losses = list(self.pipeline.steps.losses)
        return {**self.engine.state(), "progress": asdict(self.progress), "identity": self.identity}

    def save(self) -> None:
        """Write a state; from a GPU while the run goes on (`settle`)."""
        state = self.state()
        with self.watchdog.excused():
            if self.ranks.is_main:
                self.writer.write(self.progress.step, state)
            self.ranks.meet()
        del state

    def settle(self) -> None:
        """Wait until every state is on disk."""
        with self.watchdog.excused():
            self.writer.wait()
            self.ranks.meet()

    # ------------------------------------------------------------ steps

    def run(self) -> Outcome:
        """Train to the end, to a signal, or to divergence."""
        with self.watchdog:
            outcome = self._run()
            self.settle()
            return outcome

    def _run(self) -> Outcome:
        begun = last_saved = time.monotonic()
        seconds_before = self.progress.seconds
        self.is_save_asked = self.is_leave_asked = False
        self._protect()
        for callback in self.callbacks:
            callback.before_run(self)
        while self.progress.step < self.stop:
            while self._may_issue():
                self._issue(last_saved)
            issued, result = self.pipeline.read()
            action = self._react(result) if result.wrong is not None else "move"
            if action == "stop":
                return Outcome("diverged", self.progress)
            if action == "rollback":
                continue
            self._end_step(issued, result, seconds_before + time.monotonic() - begun)
            if self.pipeline.flying:
                continue
            is_due = self._is_protected() or self.is_save_asked
            if self.is_leave_asked:
                self.save()
                return Outcome("saved", self.progress)
            if is_due and self.progress.step < self.stop:
                self.save()
                last_saved, self.is_save_asked = time.monotonic(), False
        return Outcome("trained", self.progress)

    def _may_issue(self) -> bool:
        """Whether another step is issued before a result is read.

        What looks at the model or saves it waits until all that is in flight is read.
        """
        flying = self.pipeline.flying
        step = self.progress.step + len(flying)
        if step >= self.stop or self.pipeline.is_full:
            return False
        is_asked = self.is_save_asked or self.is_leave_asked
        return not flying or not (
            is_asked or self._is_window_end(step) or any(each.needs_model_after(step) for each in self.callbacks)
        )

    def _issue(self, last_saved: float) -> None:
        """Issue the next step; a step that is not sound moves no weights."""
        now, recipe, ranks, rules = self.progress, self.recipe, self.ranks, self.recipe.instability
        step = now.step + len(self.pipeline.flying)
        batch = step + now.shift

        def flags() -> tuple[bool, bool]:
            is_due = ranks.is_main and time.monotonic() - last_saved >= self.checkpoint_seconds
            return received() is not None, is_due

        positions = rank_positions(batch, recipe.global_batch_size, ranks.rank, ranks.size)
        will_skip = rules.policy == "skip" and len(now.events) < rules.max_events
        self.pipeline.issue(positions, batch, self.schedule(step), will_skip, flags)

    def _react(self, result: Result) -> str:
        """Do what the recipe says of an unsound step: stop, skip it, or go back; which of them."""
        now, rules = self.progress, self.recipe.instability
        action = "stop" if len(now.events) >= rules.max_events else rules.policy
        event = Event(now.step + 1, str(result.wrong), finite(result.loss), finite(result.gradient_norm), action)
        events = [*now.events, event.as_dict()]
        if self.ranks.is_main:
            about = f"loss={result.loss:.4g} norm={result.gradient_norm:.4g}"
            log.warning(f"instability at step {event.step}: {result.wrong}, {about}: {action}")
        if action == "rollback":
            bad = now.step + now.shift
            now = self._roll_back()
            now.shift = bad + 1 - now.step
        elif action == "skip":
            self.pipeline.skip()
        now.events = events
        return action

    def _end_step(self, issued: Issued, result: Result, seconds: float) -> None:
        """Count a step that was made or skipped, and let the callbacks see it."""
        now = self.progress
        self.unsaved_digest = add_digests(self.unsaved_digest, order_digest(issued.positions, issued.indices))
        self.unsaved_lost += issued.lost
        self.unsaved_tokens += issued.text_tokens
        now.step += 1
        now.seconds = seconds
        self.is_save_asked |= result.is_due
        # A single rank need not ask the others: it sees a signal before the steps in flight tell of it.
        self.is_leave_asked |= result.is_signalled or (bool(self.pipeline.flying) and self._is_signalled_alone())
        if self.steps is not None and result.wrong is None and now.step > self.steps - max(1, self.steps // 10):
            now.tail_sum, now.tail_steps = now.tail_sum + result.loss, now.tail_steps + 1
        if self.is_at_point:
            self._check_lost()
        self.watchdog.step()
        with self.watchdog.excused():
            for callback in self.callbacks:
                callback.after_step(self, Step(issued.rate, issued.waited, result))

    def _is_signalled_alone(self) -> bool:
        return self.ranks.size == 1 and received() is not None

    @property
    def is_at_point(self) -> bool:
        """Whether the curve has a point after this step: the first, the last, and about a hundred on the way."""
        every = max(1, (self.steps or self.stop) // POINTS)
        return self.progress.step % every == 0 or self.progress.step in (1, self.stop)

    def _protect(self) -> None:
        """Keep the state that a rollback would go back to; a run that has none yet writes one."""
        if self.recipe.instability.policy == "rollback":
            self.folder.protected = self._window_start()
            if self.progress.step == self.origin:
                self.save()

    def _is_protected(self) -> bool:
        """Whether a window of the rollback ends with this step, so that its state is written and kept."""
        is_end = self._is_window_end(self.progress.step)
        if is_end:
            self.settle()  # else what is being written would delete the state that was protected before
            self.folder.protected = self.progress.step
        return is_end

    def _is_window_end(self, step: int) -> bool:
        rules = self.recipe.instability
        return rules.policy == "rollback" and step % rules.window == 0

    def _roll_back(self) -> Progress:
        """Back to the state of the last whole window: the same place whenever the run was interrupted."""
        self.settle()
        target = self._window_start()
        states = self.folder.saved() if self.ranks.is_main else []
        found = self.ranks.tell(next((state for state in states if state.step == target and state.is_whole), None))
        if found is None:
            raise TrainingError(
                f"{self.folder.root}: the state of step {target}, to roll back to, is gone or damaged. "
                "Delete the folder and run the cell again."
            )
        with self.watchdog.excused():
            self.start_from(read_state(found.path))
        for callback in self.callbacks:
            callback.after_rollback(self)
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
