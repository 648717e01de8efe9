"""Names in a study file: each refers to something that the file defines."""

from __future__ import annotations

from typing import Any

from ...errors import close_matches
from ..config.training import Recipe, RecipeOverride, Selector
from ..counts import format_count
from ..file import Report, Study


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
