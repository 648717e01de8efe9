"""Ends a run that hangs: no step for a long time. The stacks of all threads go into the log, on every rank.

A rank cannot see why nothing comes: another one stopped, a link is down, a folder no longer answers. So each judges by
itself, and the exit code says to the launcher and to the cluster that the same command is to be run again.
"""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .signals import EXIT_HUNG, EXIT_SAVED

FACTOR = 50
"""Of the longest step so far: a run is given as much, if that is more than the limit."""
FIRST = 4
"""Times the limit until the first step: it compiles, and ranks meet."""
SECONDS_TO_OTHERS = 10.0
"""Between the stacks and the end, so that ranks that hang with this one write theirs."""


class Patience:
    """How long a run may go without a step. Only time in which the machine ran this process counts.

    limit: seconds.
    """

    def __init__(self, limit: float) -> None:
        self.limit, self.longest, self.idle = limit, 0.0, 0.0
        self.is_first = True

    def wait(self, seconds: float, expected: float) -> bool:
        """Whether patience is at an end after some more seconds without a step.

        expected: that the watch meant to sleep. A process that was stopped, or got no core, sleeps longer: the rest is
        not counted.
        """
        self.idle += min(seconds, 2 * expected)
        return self.idle > self.allowed

    @property
    def allowed(self) -> float:
        """Seconds without a step that are allowed now."""
        return FIRST * self.limit if self.is_first else max(self.limit, FACTOR * self.longest)

    def step(self) -> None:
        """A step was made. The first one's time says nothing of others."""
        if not self.is_first:
            self.longest = max(self.longest, self.idle)
        self.is_first, self.idle = False, 0.0

    def rest(self) -> None:
        """Begin to count again, after something that may take any time."""
        self.idle = 0.0


class Watchdog:
    """Watches a loop from a thread of its own, as a context; without a limit it does nothing.

    minutes: that a run may go without a step. ranks: of the job; one alone ends with exit code 75, one of several with
    76, which their launcher makes 75. leave: called with the exit code; os._exit, for the main thread hangs.
    """

    def __init__(
        self, minutes: float | None = None, rank: int = 0, ranks: int = 1, leave: Callable[[int], object] = os._exit
    ) -> None:
        self.patience = Patience(60 * minutes) if minutes is not None else None
        self.rank, self.code, self.leave = rank, EXIT_SAVED if ranks == 1 else EXIT_HUNG, leave
        self._is_excused = False
        self._ended = threading.Event()

    def __enter__(self) -> Watchdog:
        self._ended = threading.Event()
        if self.patience is not None:
            given = (self.patience, self._ended)
            threading.Thread(target=self._watch, args=given, name="watchdog", daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ended.set()

    def step(self) -> None:
        """A step was made."""
        if self.patience is not None:
            self.patience.step()

    @contextmanager
    def excused(self) -> Iterator[None]:
        """Inside, any time may pass: a state is written, the model is evaluated."""
        self._is_excused = True
        try:
            yield
        finally:
            if self.patience is not None:
                self.patience.rest()
            self._is_excused = False

    def _watch(self, patience: Patience, ended: threading.Event) -> None:
        expected = min(1.0, patience.limit / 10)
        before = time.monotonic()
        while not ended.wait(expected):
            now = time.monotonic()
            is_over = not self._is_excused and patience.wait(now - before, expected)
            before = now
            if is_over:
                self._say(patience)
                if not ended.wait(min(SECONDS_TO_OTHERS, patience.limit)):
                    self.leave(self.code)
                return

    def _say(self, patience: Patience) -> None:
        """Write to the log what this rank's threads are at."""
        said = f"rank {self.rank} made no step for {patience.idle:.0f} s; its longest took {patience.longest:.1f} s"
        error = sys.__stderr__ or sys.stderr
        print(
            f"hang: {said}. The stacks of its threads follow. It ends, to go on from its last state "
            "(resources.train.hang_minutes)",
            file=error,
            flush=True,
        )
        faulthandler.dump_traceback(file=error, all_threads=True)
