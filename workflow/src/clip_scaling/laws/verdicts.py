"""What a law may claim: `law`, `law, ...` with a reservation, or `no law: ...`."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..records.laws import Verdict
from .identify import NOTHING_OPEN, Unidentified
from .runs import Runs
from .student import slope_and_error, t_reach

FEWEST_HELD_OUT = 3
MISSED = 0.003
FLAT_EXPONENT = -0.01  # Of all runs: above it a task is flat or rises, and no method's slope is a law.


def most_data(runs: Runs) -> np.ndarray:
    """Mask of the runs on the most unique pairs; none where that is not known."""
    return runs.unique == np.max(runs.unique, initial=-np.inf)


def _falls_significantly(runs: Runs) -> bool:
    """Whether the exponent is below the flat one and the upper end of its 95 % t interval below 0."""
    if len(np.unique(runs.compute)) < 3:
        return False
    slope, error = slope_and_error(runs.log_compute, runs.log_error)
    return bool(slope < FLAT_EXPONENT and slope + t_reach(0.95, len(runs) - 2) * error < 0)


def judge(
    runs: Runs,
    parameters: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
    n_points: int,
    design: Unidentified = NOTHING_OPEN,
) -> tuple[str, list[str]]:
    """The verdict, and the parameters that the data do not identify.

    design: those that the places of the runs leave open. Flatness of a task is judged over all runs, whatever points a
    method chooses: the frontier of noise falls. But on little data the error of any task may rise with compute, so a
    task is not flat either where the error falls significantly over the runs on the most unique data.
    """
    slope = float(np.polyfit(runs.log_compute, runs.log_error, 1)[0])
    if slope > FLAT_EXPONENT and not _falls_significantly(runs.take(most_data(runs))):
        if slope > 0:
            return f"no law: over all {len(runs)} runs the error does not fall with compute (exponent {slope:+.4f})", []
        return f"no law: flat, over all {len(runs)} runs the exponent is {slope:+.4f}, within 0.01 of zero", []
    alpha = parameters.get("alpha", -np.inf)
    if alpha > FLAT_EXPONENT:
        return f"no law: the exponent of the {n_points} chosen points is {alpha:+.4f}", []
    unknown = [name for name, ends in intervals.items() if not np.isfinite(ends).all() and name != "repeats_worth"]
    unknown = [name for name in unknown if name not in design.parameters]
    reasons = [f"{' and '.join(unknown)} ({n_points} points do not bound it)"] if unknown else []
    if design or unknown:
        return f"law, not identifiable: {'; '.join([str(design)] * bool(design) + reasons)}", [
            *design.parameters,
            *unknown,
        ]
    low, high = intervals.get("alpha", (-np.inf, -np.inf))
    if low <= 0 <= high:
        return f"law, not significant: {n_points} points, and the 95 % interval of the exponent includes 0", []
    return "law", []


def after_holdout(verdict: str, held: float, missed: np.ndarray) -> str:
    """The verdict of a law whose hold-out contradicts it: of three or more predictions less than half lay inside their
    90 % intervals. A floor that a power law cannot follow shows so.

    held: share that lay inside. missed: by how much of ln E each prediction was off; misses of less than MISSED on
    average are of rounding, whatever the intervals.
    """
    found = Verdict.parse(verdict)
    if not found.is_law or len(missed) < FEWEST_HELD_OUT or not held < 0.5:
        return verdict
    if float(np.abs(missed).mean()) < MISSED:
        return verdict
    reason = f"{round(held * len(missed))} of {len(missed)} hold-out predictions lie inside their 90 % intervals"
    return str(
        Verdict("law", found.reservation or "not confirmed", f"{found.reason}; {reason}" if found.reason else reason)
    )
