"""Cells to be trained again by name: what follows from it, and the old results kept until the new ones exist."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..cost.results import Results
from ..errors import ConfigError, close_matches
from ..records.filenames import CHECKPOINT, CURVE, TRAINED
from ..records.training import Heartbeat
from ..study.counts import parse_count
from ..study.grid import Cell
from ..study.resolved import ResolvedStudy
from .state import PREVIOUS

OUTPUTS = (CHECKPOINT, TRAINED, CURVE, "resume", "parts")
FILTERS = {"model": "model", "data": "data", "samples": "samples_seen", "samples_seen": "samples_seen", "seed": "seed"}


@dataclass(frozen=True)
class Rerun:
    """What would be done. command: of snakemake, as an argument list."""

    cells: list[Cell]
    lines: list[str]
    command: list[str]


def choose_cells(study: ResolvedStudy, wanted: Sequence[str]) -> list[Cell]:
    """Cells by name and by filters (`model=ViT-B-32 samples=3B`, all of which must agree; a comma is an or).

    ConfigError for a name or a value that is not in the grid, and where nothing is chosen.
    """
    names = [text for text in wanted if "=" not in text]
    filters = [text.partition("=") for text in wanted if "=" in text]
    for name in names:
        if name not in study.cells:
            raise ConfigError(
                f"{name!r} is not a cell of study {study.config.study!r}.{close_matches(name, study.cells)}"
            )
    chosen = [study.cells[name] for name in names]
    if filters:
        found = list(study.cells.values())
        for key, _, value in filters:
            if key not in FILTERS:
                raise ConfigError(f"{key}={value}: cells are chosen by {', '.join(FILTERS)}, not by {key!r}.")
            axis = FILTERS[key]
            known = {getattr(cell, axis) for cell in study.cells.values()}
            values = [_value(axis, text) for text in value.split(",")]
            for one in values:
                if one not in known:
                    raise ConfigError(f"{key}={value}: not in the grid.{close_matches(str(one), map(str, known))}")
            found = [cell for cell in found if getattr(cell, axis) in values]
        chosen += [cell for cell in found if cell not in chosen]
    if not chosen:
        raise ConfigError("rerun: no cell is chosen. Name cells, or give filters such as model=ViT-B-32 samples=3B.")
    return chosen


def _value(axis: str, text: str) -> str | int:
    if axis in ("model", "data"):
        return text
    try:
        return parse_count(text) if axis == "samples_seen" else int(text)
    except ValueError as error:
        raise ConfigError(f"{axis}={text}: {error}") from None


def plan_rerun(study: ResolvedStudy, cells: list[Cell], root: Path, configfile: Path, extra: Sequence[str]) -> Rerun:
    """What a rerun of these cells does. extra: options handed to snakemake."""
    results = Results(root, study.config.study)
    lines = []
    for cell in cells:
        there = [name for name in OUTPUTS if (results.paths.train(cell.name) / name).exists()]
        kept = f"{', '.join(there)} kept in {PREVIOUS}/" if there else "it has no results yet"
        lines.append(f"train {cell.name}: {kept}")
        if study.branch_step(cell):
            lines.append("  its cooldown only: the trunk stays. Delete the trunk's state.pt to train that again too")
    lines.append(f"evaluate {len(cells)} cells again")
    targets = len(study.targets())
    lines.append(f"then: the table of metrics, {targets} laws, figures and report")
    command = ["snakemake", "--configfile", str(configfile), *extra]
    if not any(word.startswith(("--cores", "-c", "--profile", "-j", "--jobs")) for word in extra):
        command += ["--cores", "all"]
    return Rerun(cells, lines, command)


def set_aside(study: ResolvedStudy, cells: list[Cell], root: Path) -> None:
    """Move the cells' results into `previous/`. What already lies there stays: it is older, and nothing replaced it.

    ConfigError where a cell is running.
    """
    from .live import is_running

    results = Results(root, study.config.study)
    for cell in cells:
        if is_running(Heartbeat.last(results.paths.train(cell.name) / "resume")):
            raise ConfigError(f"{cell.name} is running. Stop it first, or wait: `clip-scaling status` shows it.")
    for cell in cells:
        home, previous = results.paths.train(cell.name), results.paths.train(cell.name) / PREVIOUS
        for name in OUTPUTS:
            if (home / name).exists():
                previous.mkdir(parents=True, exist_ok=True)
                if (previous / name).exists():
                    _remove(home / name)
                else:
                    (home / name).rename(previous / name)


def drop_replaced(study: ResolvedStudy, root: Path) -> list[str]:
    """Delete the old results of every cell whose new ones exist; returns the names of those that are still kept."""
    results, kept = Results(root, study.config.study), []
    for cell in study.cells.values():
        previous = results.paths.train(cell.name) / PREVIOUS
        if not previous.is_dir():
            continue
        if all((results.paths.train(cell.name) / name).is_file() for name in OUTPUTS[:3]):
            shutil.rmtree(previous)
        else:
            kept.append(cell.name)
    return kept


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
