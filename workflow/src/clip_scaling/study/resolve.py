"""From a study file to everything that follows from it; what is wrong with it is told before any data exist.

`load_study(raw, root)` raises one ConfigError that lists all that is wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import ConfigError, close_matches
from ..models.compute import gmacs_per_sample
from .checks import check_cells, check_names, check_selectors, check_suite, explain
from .config.evaluation import Suite, SuiteEntry, probe_name
from .config.training import Recipe
from .file import PublishedStudy, Study
from .grid import Cell, cooldown_start, steps_for, trunk_name

Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class ResolvedStudy:
    """A validated study with everything that follows from it."""

    config: Study
    suite: Suite
    cells: dict[str, Cell]
    """Cell by name, in the grid's order."""
    models: dict[str, dict[str, Any]]
    """open_clip config by model name."""
    _recipes: dict[tuple[int, ...], Recipe] = field(default_factory=dict, init=False, repr=False, compare=False)
    _trunks: dict[str, list[Cell]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def recipe(self, cell: Cell) -> Recipe:
        """Defaults plus every matching override, the later winning."""
        overrides = self.config.recipe.overrides
        matching = tuple(place for place, override in enumerate(overrides) if override.matches(cell))
        if matching not in self._recipes:
            fields = self.config.recipe.defaults.model_dump()
            for place in matching:
                recipe = overrides[place].recipe
                fields.update(recipe)
                if "warmup_fraction" in recipe:
                    # Steps go before a share: the defaults' steps would stay in force.
                    fields["warmup_steps"] = recipe.get("warmup_steps")
            self._recipes[matching] = Recipe.model_validate(fields)
        return self._recipes[matching]

    def steps(self, cell: Cell) -> int:
        """Optimizer steps of a cell, its trunk included."""
        return steps_for(cell.samples_seen, self.recipe(cell).global_batch_size)

    def branch_step(self, cell: Cell) -> int:
        """The step after which a cell of schedule wsd leaves its trunk; 0 for a cell that has none."""
        recipe = self.recipe(cell)
        return cooldown_start(self.steps(cell), recipe.cooldown_fraction) if recipe.schedule == "wsd" else 0

    def trunk(self, cell: Cell) -> list[Cell]:
        """The cells of a cell's trunk (schedule wsd), smallest budget first."""
        if not self._trunks:
            for other in sorted(self.cells.values(), key=lambda c: c.samples_seen):
                if self.recipe(other).schedule == "wsd":
                    self._trunks.setdefault(trunk_name(other), []).append(other)
        return self._trunks.get(trunk_name(cell), [])

    def curve_steps(self, cell: Cell) -> list[int]:
        """The steps on its way after which a cell is evaluated; none under schedule wsd, where its trunk is."""
        points, steps = self.config.evaluation.learning_curve, self.steps(cell)
        if not points or self.branch_step(cell):
            return []
        return sorted({round(steps * number / (points + 1)) for number in range(1, points + 1)} - {0, steps})

    def source_of(self, data: str) -> str:
        """Name of the source that a subset is a prefix of."""
        return self.config.data[data].source

    def distribution(self, cell: str) -> str:
        """Name of the distribution that a cell, by name, is trained on: its data's, or the study's."""
        return self.config.data[self.cells[cell].data].distribution or self.config.study

    def targets(self) -> list[tuple[str, str]]:
        """(dataset, metric) of every law."""
        zeroshot = [(entry.dataset, metric) for entry in self.suite.datasets for metric in entry.metrics]
        probes = [(probe_name(entry.dataset, k), "acc1") for entry in self.suite.datasets for k in entry.linear_probe]
        sets = self.fine_tuned_sets() if self.fine_tuned_cells() else []
        tuned = [(f"{kind}/{dataset}", "acc1") for dataset in sets for kind in self._tuned_kinds()]
        return zeroshot + probes + tuned + [(mean.dataset, mean.metric) for mean in self.suite.aggregates]

    @property
    def evaluation_sets(self) -> dict[str, SuiteEntry]:
        """The suite's entries by dataset."""
        return {entry.dataset: entry for entry in self.suite.datasets}

    def fine_tuned_sets(self) -> list[str]:
        """The sets that image towers are fine-tuned on."""
        return [entry.dataset for entry in self.suite.datasets if entry.fine_tune]

    def fine_tuned_cells(self) -> list[str]:
        """The cells that are fine-tuned; none where no set asks for it."""
        selector = self.suite.fine_tuning.cells
        return [name for name, cell in self.cells.items() if selector.matches(cell)] if self.fine_tuned_sets() else []

    def _tuned_kinds(self) -> list[str]:
        tuning = self.suite.fine_tuning
        return ["fine_tune", "patched"] if tuning.mixing and tuning.head == "zeroshot" else ["fine_tune"]

    def external_sets(self) -> list[str]:
        """Evaluation sets that no source of the study holds out: digits, and folders in clip-benchmark's layout."""
        return [entry.dataset for entry in self.suite.datasets if entry.origin != "held_out"]

    def hold_out(self, dataset: str) -> tuple[str, str]:
        """`iconify-icons` -> ("iconify", "icons"): the source and the set held out of it."""
        return self.config.held_out_sets()[dataset]


@dataclass(frozen=True)
class ResolvedPublishedStudy:
    """A validated study of published results."""

    config: PublishedStudy

    def targets(self) -> list[tuple[str, str]]:
        """(dataset, metric) of every law."""
        return [(target.dataset, metric) for target in self.config.targets for metric in target.metrics]


def load_any_study(raw: dict[str, Any], root: Path) -> ResolvedStudy | ResolvedPublishedStudy:
    """A study of published results where the file has `tables`, else one that is trained."""
    if "tables" in raw:
        return ResolvedPublishedStudy(_validate(PublishedStudy, raw))
    return load_study(raw, root)


def load_yaml(path: Path) -> Any:
    """Read a YAML file. ConfigError where it is missing or malformed."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"{path}: no such file. There are: {there}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML. {error}") from None


def load_study(raw: dict[str, Any], root: Path) -> ResolvedStudy:
    """Validate a study's dictionary and all that it refers to.

    raw: the merged config. root: the project folder, which holds `config/`.
    Raises one ConfigError that lists every problem found.
    """
    study = _validate(Study, raw)
    suite = _validate(Suite, load_yaml(root / "config" / "evaluation" / f"{study.evaluation.suite}.yaml"))
    problems = check_names(study) + check_suite(study, suite)
    models: dict[str, dict[str, Any]] = {}
    wanted = dict.fromkeys([*study.grid.models, *(extra.model for extra in study.grid.include)])
    for model in wanted:
        try:
            models[model] = model_config(model, root)
            gmacs_per_sample(models[model])
        except ConfigError as error:
            problems.append(f"grid.models: {model!r}: {error}")
    problems += check_selectors(study)
    if problems:
        raise ConfigError(_as_list(problems))
    cells = {cell.name: cell for cell in expand(study)}
    resolved = ResolvedStudy(study, suite, cells, models)
    problems = check_cells(resolved)
    if problems:
        raise ConfigError(_as_list(problems))
    return resolved


def expand(study: Study) -> list[Cell]:
    """All cells of a validated study, in the order of the grid's axes. ConfigError where none is left."""
    grid = study.grid
    cells: dict[Cell, None] = {}
    for model in grid.models:
        for data in grid.data:
            pairs = study.data[data].pairs
            budgets = grid.samples_seen or [epochs * pairs for epochs in grid.epochs or []]
            for samples_seen in budgets:
                for seed in grid.seeds:
                    cell = Cell(model, data, samples_seen, seed)
                    if not any(selector.matches(cell) for selector in grid.exclude):
                        cells[cell] = None
    for extra in grid.include:
        cells[Cell(extra.model, extra.data, extra.samples_seen, extra.seed)] = None
    if not cells:
        raise ConfigError("grid: no cell is left after grid.exclude. Narrow its selectors.")
    return list(cells)


def model_config(name: str, root: Path) -> dict[str, Any]:
    """The open_clip config of a model: `config/models/{name}.json`, else open_clip's own of that name."""
    found = _model_files(root)
    if name not in found:
        raise ConfigError(
            f"not an open_clip model, and config/models/{name}.json does not exist.{close_matches(name, found)}"
        )
    return json.loads(found[name].read_text(encoding="utf-8"))


def _model_files(root: Path) -> dict[str, Path]:
    """Model configs by name. open_clip is located, not imported: planning must not load torch."""
    spec = find_spec("open_clip")
    folders = (
        [Path(spec.submodule_search_locations[0]) / "model_configs"] if spec and spec.submodule_search_locations else []
    )
    folders.append(root / "config" / "models")
    return {file.stem: file for folder in folders for file in sorted(folder.glob("*.json"))}


def _validate(model: type[Model], raw: Any) -> Model:
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_as_list([explain(problem) for problem in error.errors()])) from None


def _as_list(problems: list[str]) -> str:
    return problems[0] if len(problems) == 1 else "\n" + "\n".join(f"  - {problem}" for problem in problems)


def plan_rows(study: ResolvedStudy) -> list[dict[str, Any]]:
    """One row a cell: its axes, its steps, its epochs and its compute, known before anything runs."""
    rows = []
    for cell in study.cells.values():
        recipe = study.recipe(cell)
        steps = steps_for(cell.samples_seen, recipe.global_batch_size)
        seen = steps * recipe.global_batch_size
        gmacs = gmacs_per_sample(study.models[cell.model])["total"]
        pairs = study.config.data[cell.data].pairs
        rows.append(
            {
                "cell": cell.name,
                "model": cell.model,
                "data": cell.data,
                "unique_pairs": pairs,
                "samples_seen": seen,
                "samples_trained": samples_trained(study, cell),
                "seed": cell.seed,
                "steps": steps,
                "epochs": round(seen / pairs, 4),
                "learning_rate": recipe.learning_rate,
                "global_batch_size": recipe.global_batch_size,
                "gmacs_per_sample": gmacs,
                "compute_gmacs": gmacs * seen,
            }
        )
    return rows


def samples_trained(study: ResolvedStudy, cell: Cell) -> int:
    """Samples that a cell adds to what others train: under wsd its cooldown and its part of the trunk."""
    batch = study.recipe(cell).global_batch_size
    begin = 0
    if study.recipe(cell).schedule == "wsd":
        cells = study.trunk(cell)
        place = cells.index(cell)
        begin = study.branch_step(cells[place - 1]) if place else 0
    return (study.steps(cell) - begin) * batch
