"""Each cell: recipe against model, data and resources."""

from __future__ import annotations

from pydantic import ValidationError

from ...errors import close_matches
from ...models.size import memory_gb, model_size
from ..config.devices import DEVICES
from ..config.resources import TrainResources
from ..config.training import GPU_PRECISIONS, Recipe
from ..counts import format_count
from ..grid import Cell, steps_for
from ..resolved import ResolvedStudy
from .explain import explain


def check_cells(study: ResolvedStudy) -> list[str]:
    """What can be known of a cell before any data exists: its recipe, its warm-up, its tokens."""
    problems = []
    for cell in study.cells.values():
        try:
            recipe = study.recipe(cell)
        except ValidationError as error:
            problems += [f"{cell.name}: recipe.{explain(problem)}" for problem in error.errors()]
            continue
        steps = steps_for(cell.samples_seen, recipe.global_batch_size)
        if recipe.warmup_steps is not None and recipe.warmup_steps >= steps:
            problems.append(
                f"{cell.name}: warmup_steps {recipe.warmup_steps} is not shorter than the run of {steps} steps "
                f"({format_count(cell.samples_seen)} samples at batch {recipe.global_batch_size}). "
                "Lower it, or give warmup_fraction"
            )
        if recipe.global_batch_size > study.config.data[cell.data].pairs:
            problems.append(
                f"{cell.name}: global_batch_size {recipe.global_batch_size} is more than "
                f"the {study.config.data[cell.data].pairs} pairs of {cell.data!r}"
            )
        source = study.config.sources[study.source_of(cell.data)]
        rows = study.models[cell.model]["text_cfg"].get("vocab_size", 49408)
        if rows < source.vocabulary_size:
            problems.append(
                f"{cell.name}: the model's token table has {rows} rows, but "
                f"sources.{study.source_of(cell.data)}.vocabulary_size is {source.vocabulary_size}"
            )
        problems += _check_training(study, cell, recipe) + _check_after_training(study, cell)
    return list(dict.fromkeys(problems))


def _check_training(study: ResolvedStudy, cell: Cell, recipe: Recipe) -> list[str]:
    """How a cell is cut into ranks, readers and a trunk."""
    problems = []
    name = study.source_of(cell.data)
    source = study.config.sources[name]
    data = study.config.data[cell.data]
    is_in_place = source.is_in_place and not data.is_copied
    try:
        resources = study.config.resources.train_of(cell)
    except ValidationError as error:
        return [f"{cell.name}: resources.train.{explain(problem)}" for problem in error.errors()]
    if recipe.global_batch_size % (resources.ranks * resources.accumulate):
        problems.append(
            f"{cell.name}: global_batch_size {recipe.global_batch_size} is not a multiple of {resources.ranks} ranks x "
            f"{resources.accumulate} micro-batches (resources.train.accumulate)"
        )
    problems += _check_memory(study, cell, recipe, resources)
    if recipe.trainer != "clip_scaling" and is_in_place:
        problems.append(
            f"{cell.name}: trainer {recipe.trainer!r} reads whole tars, but {cell.data!r} is a list of pairs in tars "
            f"that stay as they are (sources.{name}, kind webdataset): set data.{cell.data}.is_copied, or use trainer "
            "clip_scaling"
        )
    if recipe.trainer != "clip_scaling" and study.curve_steps(cell):
        problems.append(
            f"{cell.name}: evaluation.learning_curve does not go with trainer {recipe.trainer!r}: set it to 0"
        )
    if recipe.precision in GPU_PRECISIONS and resources.gpus == 0:
        problems.append(f"{cell.name}: precision {recipe.precision!r} needs resources.train.gpus; use fp32 or amp_bf16")
    if recipe.readers is not None:
        # A list of pairs in existing tars has pairs of all of them; any other subset fills shards one by one. What is
        # not known yet is refused when training opens the data.
        shards = source.known_tars(name) if is_in_place else -(-data.pairs // source.shard_size)
        if shards is not None and recipe.readers > shards:
            problems.append(f"{cell.name}: {recipe.readers} readers for {shards} shards of {cell.data!r}")
        if recipe.readers % resources.ranks:
            problems.append(f"{cell.name}: {recipe.readers} readers are not a multiple of {resources.ranks} ranks")
    if (recipe.objective == "coca") != ("multimodal_cfg" in study.models[cell.model]):
        problems.append(
            f"{cell.name}: objective {recipe.objective!r} does not go with {cell.model!r}: coca needs a model with a "
            "`multimodal_cfg`, such as coca_ViT-B-32, and the others one without"
        )
    if recipe.schedule == "wsd":
        first, *others = study.trunk(cell)
        if (recipe.warmup_steps or 0) >= study.branch_step(cell):
            problems.append(
                f"{cell.name}: warmup_steps {recipe.warmup_steps} is not shorter than the {study.branch_step(cell)} "
                "steps before its cooldown"
            )
        shared = study.recipe(first).of_trunk()
        for other in others:
            differing = [key for key, value in study.recipe(other).of_trunk().items() if value != shared[key]]
            if differing:
                problems.append(
                    f"{other.name}: {', '.join(differing)} is not that of {first.name}, with which it shares a trunk "
                    "(schedule wsd). Override by model, data or seed, not by samples_seen"
                )
    return problems


def _check_after_training(study: ResolvedStudy, cell: Cell) -> list[str]:
    """Resources of the jobs that follow a cell's training."""
    problems = []
    resources = study.config.resources
    for job, of in (("evaluate", resources.evaluate_of), ("fine_tune", resources.fine_tune_of)):
        try:
            of(cell)
        except ValidationError as error:
            problems += [
                f"{cell.name}: {explain({**problem, 'loc': ('resources', job, *problem['loc'])})}"
                for problem in error.errors()
            ]
    return problems


def _check_memory(study: ResolvedStudy, cell: Cell, recipe: Recipe, resources: TrainResources) -> list[str]:
    """Whether the cell fits on the kind of GPU that the study names, by the plan's estimate."""
    if resources.gpus == 0 or resources.gpu_kind is None:
        return []
    if resources.gpu_kind not in DEVICES:
        return [
            f"{cell.name}: resources.train.gpu_kind {resources.gpu_kind!r} is not known."
            + close_matches(resources.gpu_kind, DEVICES)
        ]
    local = -(-recipe.global_batch_size // (resources.ranks * resources.accumulate))
    is_half, is_sharded = recipe.precision.startswith("amp"), resources.parallel == "fsdp2"
    size, has_checkpoints = model_size(study.models[cell.model]), resources.gradient_checkpointing
    needed = memory_gb(size, local, recipe.global_batch_size, resources.ranks, has_checkpoints, is_half, is_sharded)
    there = DEVICES[resources.gpu_kind].memory_gb
    if there is None or needed <= there:
        return []
    return [
        f"{cell.name}: about {needed:.0f} GB a GPU at {local} samples each, {resources.gpu_kind} has {there:g} GB. "
        "Raise resources.train.nodes or accumulate, or set gradient_checkpointing: true, or parallel: fsdp2"
    ]
