"""How processes end: exit codes, and signals that end them or not. Only the standard library."""

from __future__ import annotations

import os
from collections.abc import Iterable

CONTINUE = os.EX_TEMPFAIL
"""75: the program has saved; the same command goes on from there."""
HUNG = 76
"""76: a rank of several made no step for too long. The same command goes on from what was saved before."""


def overall_exit_code(codes: Iterable[int]) -> int:
    """Exit code of a group of ranks, whose codes are given in the order in which they ended.

    Where one hung, the ends of the others follow from it.
    """
    codes = list(codes)
    if HUNG in codes:
        return CONTINUE
    failed = [code for code in codes if code not in (0, CONTINUE)]
    return failed[0] if failed else CONTINUE if CONTINUE in codes else 0


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for the signal at this moment (Linux).

    A second request to save must not reach a Python that is already ending: it has put back the default action, death.
    """
    try:
        with open(f"/proc/{pid}/status") as file:
            masks = dict(line.split(":", 1) for line in file)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool(int(masks["SigCgt"], 16) >> (number - 1) & 1)
