"""What a plan asks of the GPUs of the machine that runs it."""

from __future__ import annotations

from ..errors import ConfigError
from ..models.roofline import PRECISION_SECONDS
from ..study.config.training import GPU_PRECISIONS
from ..study.grid import Cell
from ..study.resolved import ResolvedStudy
from .table import Plan


def gpu_problems(plan: Plan, study: ResolvedStudy, gpus: int) -> list[str]:
    """List the cells to do that one machine with this number of GPUs cannot run; a line a problem."""
    wanting: dict[str, list[str]] = {}
    for row in plan.to_do:
        cell = study.cells[row.cell]
        asked, precision = study.config.resources.train_of(cell), study.recipe(cell).precision
        wanted = asked.gpus_per_node * asked.nodes
        if wanted > gpus:
            what = f"resources.train: {wanted} ranks need a GPU each, and this machine has {_count(gpus)}"
        elif precision in GPU_PRECISIONS and not wanted:
            what = f"recipe.precision {precision!r} needs a GPU, and resources.train.gpus: {asked.gpus} finds none here"
        else:
            what = ""
        found = [what] if what else []
        if not gpus:
            jobs = _after_training(study, cell)
            found += [f"resources.{job}.gpus: 1, and this machine has {_count(gpus)}" for job in jobs]
        for problem in found:
            wanting.setdefault(problem, []).append(row.cell)
    return [f"{what}: {_cells(names)}" for what, names in wanting.items()]


def check_gpus(plan: Plan, study: ResolvedStudy, gpus: int) -> None:
    """ConfigError where this machine has too few GPUs for a cell."""
    problems = gpu_problems(plan, study, gpus)
    if problems:
        raise ConfigError(
            "\n".join(problems) + "\nNothing was started",
            remedy="Lower gpus or nodes of these resources, or run the study on a cluster (`--profile cluster`).",
        )


def _after_training(study: ResolvedStudy, cell: Cell) -> list[str]:
    """The jobs after a cell's training that ask for a GPU by number."""
    resources = study.config.resources
    jobs = ["evaluate"] if resources.evaluate_of(cell).gpus == 1 else []
    is_tuned = cell.name in study.fine_tuned_cells()
    return [*jobs, "fine_tune"] if is_tuned and resources.fine_tune_of(cell).gpus == 1 else jobs


def _count(gpus: int) -> str:
    return f"{gpus}" if gpus else "none that torch could use"


def _cells(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def exactness_notes(plan: Plan, study: ResolvedStudy) -> list[str]:
    """Say which cells to do on GPUs cannot be promised the same bits in every run; a line a reason, with a remedy."""
    reasons: dict[str, list[str]] = {}
    for row in plan.to_do:
        cell = study.cells[row.cell]
        recipe, asked = study.recipe(cell), study.config.resources.train_of(cell)
        if not row.gpus or not recipe.deterministic:
            continue
        if recipe.trainer != "clip_scaling":
            what = f"{recipe.trainer} chooses its own kernels (recipe.trainer: clip_scaling has those that repeat)"
        elif asked.nodes > 1:
            what = (
                "sums over several nodes may be taken in another order where a run continues on other nodes (NCCL). "
                "Hold it to the same nodes, or to one node, where the last bits matter"
            )
        else:
            continue
        reasons.setdefault(what, []).append(row.cell)
    return [f"recipe.deterministic: {what}: {_cells(names)}" for what, names in reasons.items()]


def precision_notes(plan: Plan, study: ResolvedStudy) -> list[str]:
    """Say what bfloat16 would save of the cells to do that train in fp32 on a GPU."""
    rows = [row for row in plan.to_do if row.gpus and study.recipe(study.cells[row.cell]).precision == "fp32"]
    if not rows:
        return []
    times, hours = PRECISION_SECONDS["fp32"] / PRECISION_SECONDS["amp_bf16"], sum(row.gpu_hours for row in rows)
    return [
        f"recipe.precision: fp32 takes about {times:.1f} times as long on a GPU as amp_bf16 (ViT-B-32 on an H100: 754 "
        f"and 2,129 samples/s), which would save about {hours * (1 - 1 / times):.2g} of {hours:.2g} GPU-hours: "
        f"{_cells([row.cell for row in rows])}"
    ]
