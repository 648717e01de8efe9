"""The study's budget held against its plan: beyond it nothing is started, and the cells that would fit are named."""

from __future__ import annotations

from ..errors import ConfigError
from ..study.config.resources import Budget
from .sums import total
from .table import Plan


def check_budget(plan: Plan, budget: Budget) -> None:
    """ConfigError where what is still to run is estimated beyond the budget."""
    problems = []
    hours = total(plan.to_do, "gpu_hours")[0]
    if budget.max_gpu_hours is not None and hours > budget.max_gpu_hours:
        fitting = cells_that_fit(plan, budget.max_gpu_hours)
        problems.append(
            f"budget.max_gpu_hours: {hours:,.0f} GPU-hours are to run, {budget.max_gpu_hours:,.0f} are allowed. "
            + _say(fitting)
        )
    if budget.max_storage_gb is not None and plan.peak_storage_gb > budget.max_storage_gb:
        largest = max(plan.stages, key=lambda stage: stage.peak_gb)
        problems.append(
            f"budget.max_storage_gb: the study needs {plan.peak_storage_gb:,.3g} GB at its peak, "
            f"{budget.max_storage_gb:,.3g} are allowed. Most is stage {largest.stage} ({largest.peak_gb:,.3g} GB)"
        )
    if problems:
        raise ConfigError("\n".join(problems) + "\nNothing was started. Raise the budget, or narrow the grid.")


def cells_that_fit(plan: Plan, max_gpu_hours: float) -> list[str]:
    """As many cells as the budget holds, the cheapest first; a cell that costs no GPU-hours always fits."""
    chosen, spent = [], 0.0
    for row in sorted(plan.to_do, key=lambda row: row.gpu_hours):
        if spent + row.gpu_hours > max_gpu_hours:
            break
        spent += row.gpu_hours
        chosen.append(row.cell)
    return chosen


def _say(fitting: list[str]) -> str:
    if not fitting:
        return "No cell fits"
    shown = "\n".join(f"  {name}" for name in fitting[:20])
    more = f"\n  ... and {len(fitting) - 20} more" if len(fitting) > 20 else ""
    return f"These {len(fitting)} would fit:\n{shown}{more}"
