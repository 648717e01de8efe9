"""A log line every few seconds: `rendered=120000/245000 per_second=2100`."""

from __future__ import annotations

import logging
import time

log = logging.getLogger(__name__)

_SECONDS = 5


class Progress:
    """Count what is done of a known total, and log it every few seconds and at the end."""

    def __init__(self, verb: str, total: int) -> None:
        """verb: past tense, the log line's first word."""
        self.verb, self.total, self.done = verb, total, 0
        self._started = self._last = time.monotonic()

    def add(self, count: int) -> None:
        """Add what was done since the last call."""
        self.done += count
        now = time.monotonic()
        if now - self._last > _SECONDS or self.done == self.total:
            rate = self.done / max(now - self._started, 1e-9)
            log.info("%s=%d/%d per_second=%.0f", self.verb, self.done, self.total, rate)
            self._last = now
