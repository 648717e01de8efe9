"""The plan as text: a table for the terminal, and one of all cells."""

from __future__ import annotations

import csv
import io
from typing import Any

from ..records.filenames import GRID
from ..records.plan import PlannedCell
from .sums import human, totals
from .table import Plan
from .terminal import UNBOUNDED, table, wrapped

LISTED = 60
"""Rows that the terminal shows; the file has all."""
COLUMNS = (
    "cell", "model", "data", "unique_pairs", "samples_seen", "samples_trained", "seed", "state", "reason", "steps",
    "epochs", "learning_rate", "global_batch_size", "gmacs_per_sample", "compute_gmacs", "gpus", "cells_per_gpu",
    "gpu_hours", "gpu_hours_low", "gpu_hours_high", "cores", "cpu_hours", "cpu_hours_low", "cpu_hours_high",
    "wall_hours", "energy_mwh", "storage_gb", "basis", "planned_hours", "used_hours",
    "evaluation_hours",
)  # fmt: skip


def grid_tsv(plan: Plan) -> str:
    """One line a cell; numbers to six digits, none where nothing is known."""
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    predictions = {row["cell"]: row for row in plan.knowledge["cells"]} if plan.knowledge else {}
    extra = ("predicted", "predicted_low", "predicted_high", "rank") if predictions else ()
    writer.writerow([*COLUMNS, *extra])
    for row in plan.rows:
        values = [_cell(getattr(row, column)) for column in COLUMNS]
        writer.writerow([*values, *(_cell(predictions.get(row.cell, {}).get(key)) for key in extra)])
    return text.getvalue()


def text_plan(plan: Plan, width: int = UNBOUNDED) -> str:
    """The plan for a terminal. width: its columns."""
    sums = totals(plan)
    rows = sorted(plan.rows, key=lambda row: ("blocked", "resume", "run", "skip").index(row.state))[:LISTED]
    is_cpu = not any(row.gpus for row in plan.rows)
    unit = "CPU-h" if is_cpu else "GPU-h"
    device = "cores" if is_cpu else "GPUs"
    header = ["cell", "state", "steps", "epochs", "GMAC/sample", device, unit, "90 %", "wall", "why"]
    lines = table(header, [_row(row, is_cpu) for row in rows], right=header[2:9], folded=("cell", "why"),
                  optional=("GMAC/sample", "epochs", "steps", "90 %", device), width=width)  # fmt: skip
    if len(plan.rows) > LISTED:
        lines.append(f"... and {len(plan.rows) - LISTED} more in plan/{GRID}")
    counts = ", ".join(f"{sums[state]} {state}" for state in ("run", "resume", "skip", "blocked") if sums[state])
    key = "cpu_hours" if is_cpu else "gpu_hours"
    whole, rest = sums[key], sums[f"{key}_to_do"]
    lines += ["", f"{sums['cells']} cells: {counts}"]
    lines.append(f"{unit}: {_interval(whole)} in all, {_interval(rest)} to do; {sums['compute_gmacs']:.3g} GMAC")
    lines.append(_repeats(plan))
    bases = dict.fromkeys(row.evaluation_basis for row in plan.rows)
    shared = f", {sums['evaluation_jobs']:,} jobs of evaluation" if sums["evaluation_jobs"] > len(plan.rows) else ""
    hours = f"{_number(sums['evaluation_hours'])} {unit} in all"
    lines.append(f"evaluation and fine-tuning: {hours}{shared} ({'; '.join(bases)})")
    lines.append(f"energy: {sums['energy_mwh']:,.4g} MWh")
    lines.append(
        f"storage: {human(sums['peak_storage_gb'])} GB at its peak, {human(sums['storage_gb'])} GB at rest, "
        f"{human(sums['files'])} files"
    )
    header = ["  stage", "GB at rest", "GB at peak", "files"]
    stages = [[f"  {s.stage}", f"{s.gb:,.3g}", f"{s.peak_gb:,.3g}", f"{s.files:,}"] for s in plan.stages]
    lines += table(header, stages, right=header[1:])
    lines += _accuracy(plan, unit) + _schedule(plan.schedule) + _knowledge(plan.knowledge)
    lines += [f"note: {note}" for note in plan.notes]
    lines.append(f"since the last plan: {plan.difference}")
    return "\n".join(wrapped(lines, width))


def duration(hours: float | None) -> str:
    """0.0123 -> `44 s`, 1.5 -> `1.5 h`, 60 -> `2.5 d`."""
    if hours is None:
        return "-"
    for size, unit in ((48, "h"), (24 * 365, "d")):
        if hours < 1 / 60:
            return f"{hours * 3600:.0f} s"
        if hours < 1:
            return f"{hours * 60:.3g} min"
        if hours < size:
            return f"{hours if unit == 'h' else hours / 24:.3g} {unit}"
    return f"{hours / 24 / 365.25:.3g} years"


def _row(row: PlannedCell, is_cpu: bool) -> list[str]:
    low, high = (row.cpu_hours_low, row.cpu_hours_high) if is_cpu else (row.gpu_hours_low, row.gpu_hours_high)
    value = row.cpu_hours if is_cpu else row.gpu_hours
    ends = f"{_number(low)} - {_number(high)}" if row.sd else ""
    why = row.reason if row.state == "skip" else f"{row.reason} ({row.basis})"
    return [
        row.cell, row.state, f"{row.steps:,}", _number(row.epochs), f"{row.gmacs_per_sample:.4g}",
        _devices(row, is_cpu), _number(value), ends, duration(row.wall_hours), why,
    ]  # fmt: skip


def _devices(row: PlannedCell, is_cpu: bool) -> str:
    """The cores or GPUs of a cell; `1/4` where four share a GPU."""
    shared = f"/{row.cells_per_gpu}" if row.cells_per_gpu > 1 else ""
    return f"{row.cores}" if is_cpu else f"{row.gpus}{shared}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _interval(sums: dict[str, float]) -> str:
    if not sums["estimate"]:
        return "0"
    return f"{_number(sums['estimate'])} (90 %: {_number(sums['low'])} to {_number(sums['high'])})"


def _repeats(plan: Plan) -> str:
    """How often the cells see each of their pairs: samples seen over unique pairs."""
    least, most = (pick(plan.rows, key=lambda row: row.epochs) for pick in (min, max))
    span = " to ".join(dict.fromkeys(_number(row.epochs) for row in (least, most)))
    return f"repeats: a cell sees each of its unique pairs {span} times, most in {most.cell}"


def _accuracy(plan: Plan, unit: str) -> list[str]:
    """How far the estimates were from what the finished cells used."""
    pairs = [(row.planned_hours, row.used_hours) for row in plan.rows if row.planned_hours and row.used_hours]
    if not pairs:
        return []
    planned, used = (sum(values) for values in zip(*pairs, strict=True))
    return [
        f"estimates: {len(pairs)} finished cells were planned at {_number(planned)} and used {_number(used)} {unit} "
        f"({planned / used - 1:+.0%})"
    ]


def _schedule(schedule: dict[str, Any] | None) -> list[str]:
    if schedule is None:
        return []
    ends = f"{duration(schedule['finish_hours_low'])} to {duration(schedule['finish_hours_high'])}"
    lines = [
        f"schedule: {schedule['jobs']} training jobs on {schedule['devices']} devices end after "
        f"{duration(schedule['finish_hours'])} (90 %: {ends}); {schedule['utilisation']:.0%} busy, "
        f"{human(schedule['lost_device_hours'])} device-hours lost in {schedule['failures']} failures and "
        f"{schedule['slices'] - schedule['jobs']} restarts"
    ]
    for variant in schedule["variants"]:
        change = variant["change_hours"]
        effect = "no change" if not change else f"{duration(abs(change))} {'sooner' if change < 0 else 'later'}"
        lines.append(f"  with {variant['what']}: {effect}, {variant['utilisation']:.0%} busy")
    return lines


def _knowledge(knowledge: dict[str, Any] | None) -> list[str]:
    if knowledge is None:
        return []
    lines = [
        f"what it will teach of {knowledge['target']} {knowledge['metric']} ({knowledge['method']}); "
        f"goal: {knowledge['goal']}"
    ]
    for row in knowledge["cells"][:5]:
        lines.append(
            f"  {row['cell']}: error {row['predicted']:.3g} (90 %: {row['predicted_low']:.3g} to "
            f"{row['predicted_high']:.3g}), narrows the goal's interval by {row['shrinkage']:.1%}"
        )
    return lines


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
