"""Where each cell stands before anything runs: what Snakemake will do with it, and why."""

from __future__ import annotations

import json
from typing import Any

from ..cost.results import Results, saved_step
from ..records.filenames import CHECKPOINT
from ..records.plan import State
from ..records.training import Heartbeat, TrainRecord
from ..study.config.training import RECIPE_VERSION
from ..study.grid import Cell
from ..study.resolved import ResolvedStudy

PREVIOUS = "previous"
"""Folder of a cell's old results, which are kept until new ones exist."""


def cell_state(
    study: ResolvedStudy, results: Results, cell: Cell, record: TrainRecord | None, blocks: Blocks
) -> tuple[State, str]:
    """A cell's state and the reason. record: of the finished cell; None where it has not finished."""
    home = results.paths.train(cell.name)
    if record is not None:
        changed = changes(study, cell, record, results)
        if not changed and (home / CHECKPOINT).is_file():
            return "skip", record.state
        reason = "; ".join(changed) or "its checkpoint is missing"
    else:
        resume = results.paths.resume(cell.name)
        step, beat = saved_step(resume), Heartbeat.last(resume)
        if step is not None:
            return "resume", f"saved at step {step} of {study.steps(cell)}"
        reason = "rerun asked for" if (home / PREVIOUS).is_dir() else "no result yet"
        if beat is not None:
            reason = f"{reason}; a run that stopped at step {beat.step} saved nothing"
    blocked = blocks.reason(cell.data)
    return ("blocked", blocked) if blocked else ("run", reason)


class Blocks:
    """Why cells cannot run on this machine. Each data set is looked at once, however many cells use it."""

    def __init__(self, study: ResolvedStudy, results: Results) -> None:
        self.study, self.results = study, results
        self.notes: list[str] = []
        self._known: dict[str, str] = {}
        missing = [
            entry.dataset
            for entry in study.suite.datasets
            if entry.origin == "webdataset" and not (study.suite.folder_of(entry) / "test" / "nshards.txt").is_file()
        ]
        if missing:
            self.notes.append(
                f"{len(missing)} evaluation sets are not on this machine ({', '.join(missing[:3])}, ...): "
                f"config/evaluation/{study.config.evaluation.suite}.yaml says where they must lie"
            )

    def reason(self, data: str) -> str:
        """Empty where the data is there or can be made."""
        if data not in self._known:
            name = self.study.source_of(data)
            is_there = self.results.data.manifest(data).is_file()
            missing = [] if is_there else self.study.config.sources[name].missing(name)
            self._known[data] = missing[0] if missing else ""
        return self._known[data]


def changes(study: ResolvedStudy, cell: Cell, record: TrainRecord, results: Results) -> list[str]:
    """In words, all that a finished cell was trained with and the study now asks otherwise."""
    found = _differences(record.recipe, json.loads(study.recipe(cell).model_dump_json()))
    found += [f"model {text}" for text in _differences(record.open_clip_config, study.models[cell.model])]
    if record.recipe_version != RECIPE_VERSION:
        found.append(f"recipe version changed {record.recipe_version} -> {RECIPE_VERSION}")
    digest = results.order_digest(cell.data)
    if digest is not None and record.order_digest != digest:
        found.append(f"pairs of {cell.data} changed")
    elif record.unique_pairs != study.config.data[cell.data].pairs:
        found.append(f"pairs of {cell.data} changed {record.unique_pairs} -> {study.config.data[cell.data].pairs}")
    return found


def _differences(old: dict[str, Any], new: dict[str, Any], place: str = "") -> list[str]:
    """`key changed old -> new` for every leaf that differs."""
    found = []
    for key in dict.fromkeys([*old, *new]):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            found += _differences(before, after, f"{place}{key}.")
        elif before != after:
            found.append(f"{place}{key} changed {_text(before)} -> {_text(after)}")
    return found


def _text(value: Any) -> str:
    """A number as a person writes it: 5e-4, not 0.0005."""
    if isinstance(value, float) and value and (abs(value) < 0.01 or abs(value) >= 1e6):
        mantissa, exponent = f"{value:e}".split("e")
        return f"{float(mantissa):g}e{int(exponent)}"
    return f"{value:g}" if isinstance(value, float) else str(value)
