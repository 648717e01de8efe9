"""Signals that ask a run to save and leave: USR1, USR2, TERM and INT. Imports nothing slow: call it first.

The training rules' shells ignore these signals, so that the pipe to the log outlives them; the run itself must
therefore take them from its first moment on.
"""

from __future__ import annotations

import signal
from types import FrameType

EXIT_SAVED = 75
"""Exit code of a run that saved its state and left (EX_TEMPFAIL): the same command continues it."""
EXIT_HUNG = 76
"""Exit code of a rank of several that made no step for too long; their launcher ends with EXIT_SAVED then."""

SAVING = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)

_received: list[int] = []


def listen() -> None:
    """From now on remember the signals instead of dying of them."""
    for number in SAVING:
        signal.signal(number, _remember)
    # A fork of a warm interpreter begins with them held back (machine/warm.py).
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SAVING)


def _remember(number: int, frame: FrameType | None) -> None:
    _received.append(number)


def received() -> str | None:
    """Name of the first signal that came, or None."""
    return signal.Signals(_received[0]).name if _received else None


def ignore() -> None:
    """From now on let signals pass: the state is saved, and a second one must not break the way out."""
    for number in SAVING:
        signal.signal(number, signal.SIG_IGN)


def forget() -> None:
    """Forget what came before."""
    _received.clear()
