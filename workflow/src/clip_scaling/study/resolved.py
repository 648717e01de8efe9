"""A validated study, and everything that follows from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from .config.evaluation import Suite, SuiteEntry, probe_name
from .config.training import Recipe
from .file import PublishedStudy, Study
from .grid import Cell, cooldown_start, steps_for, trunk_name


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

    def chance(self, dataset: str, metric: str) -> float | None:
        """Accuracy of guessing of a target, where its set says one. It is of top-1 accuracy and mean recall alone."""
        if metric not in ("acc1", "mean_per_class_recall"):
            return None
        chances: dict[str, float | None] = {}
        for entry in self.suite.datasets:
            probes = [probe_name(entry.dataset, shots) for shots in entry.linear_probe]
            names = [entry.dataset, *probes, f"fine_tune/{entry.dataset}", f"patched/{entry.dataset}"]
            chances |= dict.fromkeys(names, entry.chance)
        return chances.get(dataset)

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

    def chance(self, dataset: str, metric: str) -> float | None:
        """None: released tables do not say what guessing gives."""
        return None


def samples_trained(study: ResolvedStudy, cell: Cell) -> int:
    """Samples that a cell adds to what others train: under wsd its cooldown and its part of the trunk."""
    batch = study.recipe(cell).global_batch_size
    begin = 0
    if study.recipe(cell).schedule == "wsd":
        cells = study.trunk(cell)
        place = cells.index(cell)
        begin = study.branch_step(cells[place - 1]) if place else 0
    return (study.steps(cell) - begin) * batch
