"""What the parts of a study demand of each other: each check lists its problems, with place and next step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ..data.sources.base import RetrievalHoldOut
from ..errors import close_matches
from ..models.size import memory_gb, model_size
from .config.base import Strict
from .config.devices import DEVICES
from .config.evaluation import METRICS, Suite, SuiteEntry, probe_name
from .config.resources import TrainResources
from .config.training import GPU_PRECISIONS, Recipe, RecipeOverride, Selector
from .counts import format_count
from .file import Report, Study
from .grid import Cell, steps_for
from .resolved import ResolvedStudy


def explain(problem: Any) -> str:
    """One pydantic error as `place: what is wrong`, with close matches for an unknown key."""
    place = ".".join(str(part) for part in problem["loc"]) or "the study"
    if problem["type"] == "extra_forbidden":
        known = {field for model in _all_models(Strict) for field in model.model_fields}
        return f"{place}: unknown key.{close_matches(str(problem['loc'][-1]), known)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {message} (got {problem['input']!r})" if problem["type"] != "missing" else f"{place}: {message}"


def _all_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    return [model, *(deeper for child in model.__subclasses__() for deeper in _all_models(child))]


def check_names(study: Study) -> list[str]:
    """References between the parts of the file, and names that would share a folder."""
    problems = []
    for data, subset in study.data.items():
        if subset.source not in study.sources:
            problems.append(
                f"data.{data}.source: {subset.source!r} is not one of sources."
                + close_matches(subset.source, study.sources)
            )
        elif subset.is_copied and not study.sources[subset.source].is_in_place:
            problems.append(
                f"data.{data}.is_copied: sources.{subset.source} is of kind {study.sources[subset.source].kind}, whose "
                "subsets have shards of their own anyway. Take it out"
            )
    for name in dict.fromkeys([*study.grid.data, *(extra.data for extra in study.grid.include)]):
        if name not in study.data:
            problems.append(f"grid.data: {name!r} is not a key of data.{close_matches(name, study.data)}")
    if study.sweep and study.sweep.data not in study.data:
        problems.append(
            f"sweep.data: {study.sweep.data!r} is not a key of data." + close_matches(study.sweep.data, study.data)
        )
    for name in set(study.sources) & set(study.data):
        problems.append(
            f"data.{name}: a source has the same name, and both would be written to results/data/{name}. Rename one"
        )
    for name in [*study.sources, *study.data]:
        if name.startswith("eval-") or name == "downloads":
            problems.append(
                f"{name!r}: 'downloads' and names that begin with 'eval-' are taken in results/data. Rename it"
            )
    for name, source in study.sources.items():
        problems += source.refusals(name)
        there = source.expected_pairs
        for data, subset in study.data.items():
            if there is not None and subset.source == name and subset.pairs > there:
                problems.append(
                    f"data.{data}.pairs: {format_count(subset.pairs)} asked, but sources.{name}.pairs has "
                    f"{format_count(there)}"
                )
    return problems


def check_report(report: Report, targets: list[tuple[str, str]]) -> list[str]:
    """Every target that the report shows must be one of the study's."""
    known = [f"{dataset} {metric}" for dataset, metric in targets]
    return [
        f"report.targets: {name!r} is no target of the study.{close_matches(name, known)}"
        for name in (f"{dataset} {metric}" for dataset, metric in report.of(targets))
        if name not in known
    ]


def check_selectors(study: Study) -> list[str]:
    """A selector that names no model, data or budget of the grid is a typo."""
    budgets = study.grid.samples_seen
    known: dict[str, list[Any]] = {
        "model": [*study.grid.models, *(extra.model for extra in study.grid.include)],
        "data": [*study.grid.data, *(extra.data for extra in study.grid.include)],
        "samples_seen": [*budgets, *(extra.samples_seen for extra in study.grid.include)] if budgets else [],
    }
    problems = []
    places: list[tuple[str, Selector]] = [
        (f"recipe.overrides.{i}", selector) for i, selector in enumerate(study.recipe.overrides)
    ]
    places += [(f"grid.exclude.{i}", selector) for i, selector in enumerate(study.grid.exclude)]
    for place, selector in places:
        for key, valid in known.items():
            wanted = getattr(selector, key)
            for value in [] if wanted is None else wanted if isinstance(wanted, list) else [wanted]:
                if valid and value not in valid:
                    problems.append(
                        f"{place}.{key}: {value!r} is not in the grid.{close_matches(str(value), map(str, valid))}"
                    )
        if isinstance(selector, RecipeOverride):
            for key in selector.recipe.keys() - Recipe.model_fields.keys():
                problems.append(f"{place}.recipe.{key}: unknown key.{close_matches(key, Recipe.model_fields)}")
    return problems


def check_suite(study: Study, suite: Suite) -> list[str]:
    """Every dataset of the suite must be there or be made, and every law's metric measured."""
    problems = [problem for entry in suite.datasets for problem in _check_entry(study, suite, entry)]
    if suite.linear_probe.solver == "lbfgs" and min(suite.linear_probe.weight_decays) <= 0:
        problems.append("linear_probe.weight_decays: solver lbfgs needs penalties above 0, or it has no minimum")
    names = [entry.dataset for entry in suite.datasets]
    problems += _check_references(suite, names)
    for name in {name for name in names if names.count(name) > 1}:
        problems.append(f"evaluation.suite ({study.evaluation.suite}): dataset {name!r} is there twice")
    return problems + _check_validation(study, names)


def _check_entry(study: Study, suite: Suite, entry: SuiteEntry) -> list[str]:
    """One dataset of the suite: held out of a source, or there; with metrics that its task measures."""
    known = study.held_out_sets()
    place = f"evaluation.suite ({study.evaluation.suite}): dataset {entry.dataset!r}"
    problems, tasks = [], list(METRICS)
    if entry.origin == "held_out":
        if entry.dataset not in known:
            return [f"{place} is not held out by any source.{close_matches(entry.dataset, known)}"]
        if entry.linear_probe or entry.fine_tune:
            problems.append(f"{place}: a held-out set has no training split for linear_probe or fine_tune")
        source, key = known[entry.dataset]
        held_out = study.sources[source].held_out[key]
        tasks = [held_out.kind]
        if isinstance(held_out, RetrievalHoldOut) and study.evaluation.loss_batch_size > held_out.pairs:
            problems.append(
                f"evaluation.loss_batch_size: {study.evaluation.loss_batch_size} is more than "
                f"the {held_out.pairs} pairs of {entry.dataset!r}"
            )
    elif entry.origin == "webdataset":
        # A source without lists cannot be prepared: the study is only planned, and its sets lie on some other machine.
        if not any(source.is_only_planned for source in study.sources.values()):
            problems += _check_webdataset(place, suite.folder_of(entry), entry)
    else:
        tasks = ["zeroshot_classification"]
        problems += _check_idx(place, suite.folder_of(entry)) if entry.origin == "idx" else []
    measured = list(dict.fromkeys(metric for task in tasks for metric in METRICS[task]))
    return problems + [
        f"{place}: metric {metric!r} is not measured in {' or '.join(tasks)}.{close_matches(metric, measured)}"
        for metric in entry.metrics
        if metric not in measured
    ]


def _check_references(suite: Suite, names: list[str]) -> list[str]:
    """What fine-tuning and means name must be in the suite."""
    problems = []
    control = suite.fine_tuning.control
    if control is not None and control not in [entry.dataset for entry in suite.datasets if entry.metrics]:
        problems.append(
            f"fine_tuning.control: {control!r} is no zero-shot set of the suite.{close_matches(control, names)}"
        )
    targets = names + [probe_name(entry.dataset, shots) for entry in suite.datasets for shots in entry.linear_probe]
    return problems + [
        f"aggregates.{mean.dataset}: {name!r} is no target of the suite.{close_matches(name, targets)}"
        for mean in suite.aggregates
        for name in mean.of
        if name not in targets
    ]


def _check_validation(study: Study, names: list[str]) -> list[str]:
    """The sets that cells are validated on while they train."""
    validation, batch = study.evaluation.validation, study.evaluation.loss_batch_size
    if validation is None:
        return []
    problems = [
        f"evaluation.validation.datasets: {name!r} is not in the suite.{close_matches(name, names)}"
        for name in validation.datasets
        if name not in names
    ]
    if validation.max_samples < batch:
        problems.append(
            f"evaluation.validation.max_samples: {validation.max_samples} is less than "
            f"evaluation.loss_batch_size {batch}"
        )
    return problems


def _check_idx(place: str, folder: Path) -> list[str]:
    """The four files of a set in MNIST's format must lie where the suite says."""
    names = [f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return []
    return [
        f"{place}: {folder} has no {' and no '.join(missing)}. Debian's package dataset-fashion-mnist has "
        "Fashion-MNIST (in /usr/share/datasets/fashion-mnist); for others name the `folder` that holds their four files"
    ]


def _check_webdataset(place: str, folder: Path, entry: SuiteEntry) -> list[str]:
    """A set in clip-benchmark's layout must lie where the suite says, with the splits that are asked for."""
    missing = [
        name
        for name in ("test/nshards.txt", *(["train/nshards.txt"] if entry.linear_probe or entry.fine_tune else []))
        if not (folder / name).is_file()
    ]
    if not missing:
        return []
    url = f"https://huggingface.co/datasets/clip-benchmark/wds_{entry.dataset.replace('/', '-')}"
    return [
        f"{place}: {folder} has no {' and no '.join(missing)}. Get it by `git clone {url} {folder}`, or write it by "
        "`clip_benchmark_export_wds`, or name another `folder`"
    ]


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
        problems += _check_training(study, cell, recipe)
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
        # A list of pairs in existing tars has pairs of all of them; any other subset fills shards one by one.
        pairs = source.expected_pairs if is_in_place and source.expected_pairs else data.pairs
        shards = -(-pairs // source.shard_size)
        if recipe.readers > shards:
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
