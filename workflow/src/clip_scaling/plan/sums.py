"""Sums of a plan with their intervals, and what has changed since the last one."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from ..cost.speeds import Z90
from ..records.plan import PlanFile, PlannedCell
from .table import Plan

SHARED_VARIANCE = 0.5
"""Share of the variance of ln speed that cells of one model and origin have in common."""


def total(rows: Iterable[PlannedCell], field_name: str) -> tuple[float, float, float]:
    """Sum of gpu_hours or cpu_hours and its 90 % interval; cells of a model share half of the variance of ln speed."""
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        groups.setdefault((row.model, row.origin), []).append((getattr(row, field_name), row.sd))
    whole = sum(value for values in groups.values() for value, _ in values)
    variance = 0.0
    for values in groups.values():
        variance += SHARED_VARIANCE * sum(value * sd for value, sd in values) ** 2
        variance += (1 - SHARED_VARIANCE) * sum((value * sd) ** 2 for value, sd in values)
    reach = math.exp(Z90 * math.sqrt(variance) / whole) if whole else 1.0
    return whole, whole / reach, whole * reach


def difference(plan: Plan, before: PlanFile | None) -> str:
    """`12 new, 3 stale because learning_rate changed ..., +1.8 k GPU-h` against the last plan."""
    if before is None:
        return "no earlier plan"
    old = {row.cell: row for row in before.rows}
    now = {row.cell: row for row in plan.rows}
    parts = []
    new, gone = [name for name in now if name not in old], [name for name in old if name not in now]
    done = [name for name in now if name in old and now[name].state == "skip" != old[name].state]
    parts += [f"{len(names)} {word}" for names, word in ((new, "new"), (gone, "gone"), (done, "finished")) if names]
    stale: dict[str, int] = {}
    for name, row in now.items():
        if name in old and old[name].state == "skip" and row.state != "skip":
            stale[row.reason] = stale.get(row.reason, 0) + 1
    parts += [f"{count} stale because {reason}" for reason, count in stale.items()]
    for key, unit in (("gpu_hours", "GPU-h"), ("cpu_hours", "CPU-h")):
        change = sum(getattr(row, key) for row in plan.to_do) - sum(
            getattr(row, key) for row in before.rows if row.state != "skip"
        )
        if abs(change) > 1e-9:
            parts.append(f"{'+' if change > 0 else '-'}{human(abs(change))} {unit} to do")
    return ", ".join(parts) or "as the last plan"


def human(value: float) -> str:
    """1834 -> `1.8 k`; three digits below a thousand."""
    for size, unit in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"


def plan_file(plan: Plan) -> PlanFile:
    """The plan as its file holds it."""
    fields = {name: getattr(plan, name) for name in ("study", "rows", "stages", "difference", "notes")}
    return PlanFile(**fields, schedule=plan.schedule, knowledge=plan.knowledge, totals=totals(plan))


def totals(plan: Plan) -> dict[str, Any]:
    """Sums over all cells, and over those that are still to run."""
    sums: dict[str, Any] = {"cells": len(plan.rows)}
    for state in ("run", "resume", "skip", "blocked"):
        sums[state] = len(plan.of(state))
    for key in ("gpu_hours", "cpu_hours"):
        sums[key] = dict(zip(("estimate", "low", "high"), total(plan.rows, key), strict=True))
        sums[f"{key}_to_do"] = dict(zip(("estimate", "low", "high"), total(plan.to_do, key), strict=True))
    sums["evaluation_hours"] = sum(row.evaluation_hours for row in plan.rows)
    sums["evaluation_jobs"] = sum(row.evaluation_jobs for row in plan.rows)
    sums["compute_gmacs"] = sum(row.compute_gmacs for row in plan.rows)
    sums["energy_mwh"] = sum(row.energy_mwh for row in plan.rows)
    sums["storage_gb"] = sum(stage.gb for stage in plan.stages)
    sums["peak_storage_gb"] = plan.peak_storage_gb
    sums["files"] = sum(stage.files for stage in plan.stages)
    return sums


def saved_by_trunks(plan: Plan) -> list[str]:
    """What schedule wsd saves against a run of its own for each budget."""
    rows = [row for row in plan.rows if row.state != "resume"]
    shared = [row for row in rows if row.samples_trained < row.samples_seen]
    if not shared:
        return []
    key = "gpu_hours" if any(row.gpu_hours for row in shared) else "cpu_hours"
    alone = sum(getattr(row, key) * row.samples_seen / row.samples_trained for row in rows)
    own = sum(getattr(row, key) for row in rows)
    return [
        f"schedule wsd saves {human(alone - own)} of {human(alone)} {key.replace('_', ' ')} "
        f"({1 - own / alone:.1%}) against a run of its own for each budget"
    ]
