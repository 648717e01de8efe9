"""The study file as a whole, and that of a study of published results."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from ..data.sources.registry import Source
from ..records.law_methods import is_of_compute, method_problem
from .config.base import Name, Strict
from .config.data import Data
from .config.evaluation import Evaluation
from .config.resources import Budget, Costs, Resources
from .config.training import Grid, Recipes, Sweep


class Laws(Strict):
    methods: list[str] = Field(["binned-min-5", "ols-all"], min_length=1, description="how to fit; see docs/laws.md")
    headline: dict[str, str] = Field(
        {}, description="method drawn and printed first, by source; default: the first of methods"
    )

    @model_validator(mode="after")
    def _know_the_methods(self) -> Laws:
        problems = [problem for name in self.methods if (problem := method_problem(name))]
        problems += [
            f"headline: {name!r} of {source} is not among methods ({', '.join(self.methods)})"
            for source, name in self.headline.items()
            if name not in self.methods
        ]
        problems += [
            f"headline: {name} of {source} is no law of compute alone, and figures draw error against compute"
            for source, name in self.headline.items()
            if name in self.methods and not is_of_compute(name)
        ]
        if problems:
            raise ValueError("; ".join(problems))
        return self


class Target(Strict):
    """What laws are of: metrics of one dataset."""

    dataset: str = Field(description="evaluation set, probe or mean; in a published study as in the released table")
    metrics: list[str] = Field(min_length=1)


class Report(Strict):
    """What the report shows first."""

    targets: list[Target] | None = Field(
        None, min_length=1, description="targets with figures, in order; default: the first seven of the study"
    )

    def of(self, targets: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """(dataset, metric) of the targets that are shown. targets: all of the study."""
        if self.targets is None:
            return targets[:7]
        return [(target.dataset, metric) for target in self.targets for metric in target.metrics]


class Study(Strict):
    """One study file."""

    study: Name = Field(description="name of the study; results go to results/{study}/")
    title: str = ""
    sources: dict[Name, Source] = Field(min_length=1)
    data: dict[Name, Data] = Field(min_length=1)
    grid: Grid
    recipe: Recipes = Recipes()
    sweep: Sweep | None = None
    evaluation: Evaluation
    laws: Laws = Laws()
    report: Report = Report()
    resources: Resources = Resources()
    budget: Budget = Budget()
    costs: Costs = Costs()

    def held_out_sets(self) -> dict[str, tuple[str, str]]:
        """Dataset name -> (source, key) for everything that the sources hold out."""
        return {f"{name}-{key}": (name, key) for name, source in self.sources.items() for key in source.held_out}

    @model_validator(mode="before")
    @classmethod
    def _spread_cells_by_hand(cls, raw: Any) -> Any:
        """A cell's own recipe and resources become overrides, so that all else knows one mechanism only."""
        cells = (
            raw.get("grid", {}).get("include") if isinstance(raw, dict) and isinstance(raw.get("grid"), dict) else []
        )
        if not isinstance(cells, list):
            return raw
        overrides: dict[str, list[Any]] = {"recipe": [], "train": []}
        for cell in cells:
            axes = {"seed": 0} | {key: value for key, value in cell.items() if key not in overrides}
            for key, gathered in overrides.items():
                if cell.get(key):
                    gathered.append(axes | {key: cell[key]})
        if not any(overrides.values()):
            return raw
        bare = [{key: value for key, value in cell.items() if key not in overrides} for cell in cells]
        raw = raw | {"grid": raw["grid"] | {"include": bare}}
        for section, key in (("recipe", "recipe"), ("resources", "train")):
            given = raw.get(section) or {}
            raw[section] = given | {"overrides": [*given.get("overrides", []), *overrides[key]]}
        return raw


class PublishedTable(Strict):
    """A released file, at a fixed commit."""

    path: str = Field(description="its place in the folder of tables")
    url: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


class LeaveOut(Strict):
    """Models that every method is fitted without and then predicts."""

    models: list[str] = Field(min_length=1)
    datasets: list[str] = Field(min_length=1)


class PublishedStudy(Strict):
    """Laws of results that others published: no data, no training."""

    study: Name = Field(description="name of the study; results go to results/{study}/")
    title: str = ""
    published: str | None = Field(None, description="a folder that holds the tables; default: fetched from their URLs")
    tables: list[PublishedTable] = Field(min_length=1)
    targets: list[Target] = Field(min_length=1)
    laws: Laws = Laws()
    report: Report = Report()
    leave_out: LeaveOut | None = None
