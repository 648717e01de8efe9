"""Read a study file, check it, and expand its grid; problems are reported before any data is prepared.

`load_study(raw, root)` raises one ConfigError that lists all that is wrong.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import ConfigError, close_matches, redacted
from ..models.compute import gmacs_per_sample
from .checks.cells import check_cells
from .checks.explain import explain
from .checks.names import check_names, check_report, check_selectors
from .checks.suite import check_suite
from .config.evaluation import Suite
from .file import PublishedStudy, Study
from .grid import Cell
from .resolved import ResolvedPublishedStudy, ResolvedStudy

_MODEL_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*", re.ASCII)
Model = TypeVar("Model", bound=BaseModel)


def load_any_study(raw: dict[str, Any], root: Path) -> ResolvedStudy | ResolvedPublishedStudy:
    """A study of published results where the file has `tables`, else one that is trained."""
    if "tables" in raw:
        published = ResolvedPublishedStudy(_validate(PublishedStudy, raw))
        if problems := check_report(published.config.report, published.targets()):
            raise ConfigError(_as_list(problems))
        return published
    return load_study(raw, root)


def load_yaml(path: Path) -> Any:
    """Read a YAML file. ConfigError where it is missing or malformed."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = ", ".join(sorted(file.stem for file in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"{path}: no such file. There are: {there}.") from None
    except UnicodeDecodeError as error:
        why = f"{path}: not UTF-8 ({error.reason} at byte {error.start})"
        raise ConfigError(why, remedy="Save the file as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply for a study file.") from None
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
    problems = check_cells(resolved) + check_report(study.report, resolved.targets())
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
    if not _MODEL_NAME.fullmatch(name):  # it becomes part of paths and commands
        raise ConfigError(f"{name!r} is no valid name of a model: letters, digits, '.', '-', '_' and '+' only")
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
    for place, text in _texts(raw):
        if redacted(text) != text:
            raise ConfigError(
                f"{place}: {redacted(text)} has credentials in it. They would stand in logs, command lines and "
                "provenance: give them by the environment, or by an entry for the host in ~/.netrc."
            )
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(_as_list([explain(problem) for problem in error.errors()])) from None


def _texts(raw: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield (key, text) of every text in a study file."""
    if isinstance(raw, str):
        yield place, raw
    elif isinstance(raw, dict | list):
        for key, value in raw.items() if isinstance(raw, dict) else enumerate(raw):
            yield from _texts(value, f"{place}.{key}" if place else str(key))


def _as_list(problems: list[str]) -> str:
    return problems[0] if len(problems) == 1 else "\n" + "\n".join(f"  - {problem}" for problem in problems)
