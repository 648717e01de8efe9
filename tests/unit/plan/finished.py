"""Finished cells for the tests of the plan and its costs, made of files alone."""

from __future__ import annotations

import json
from pathlib import Path

from clip_scaling.study.config.training import RECIPE_VERSION
from clip_scaling.study.grid import Cell
from clip_scaling.study.resolved import ResolvedStudy

from ..records.examples import train_record


def finish(root: Path, study: ResolvedStudy, cell: Cell, seconds: float = 36.0, speed: float = 1000.0) -> Path:
    """Write what a finished cell leaves, as the training engine records it."""
    home = root / "results" / study.config.study / "train" / cell.name
    home.mkdir(parents=True, exist_ok=True)
    record = train_record(
        cell.name,
        recipe=json.loads(study.recipe(cell).model_dump_json()),
        model_config=study.models[cell.model],
        recipe_version=RECIPE_VERSION,
        unique_pairs=study.config.data[cell.data].pairs,
        order_digest="d",
        steps=study.steps(cell),
        seconds=seconds,
        samples_per_second=speed,
        final_loss=2.5,
        attempts=[{"from_step": 0, "started": 0.0}],
    )
    (home / "train.json").write_text(json.dumps(record))
    (home / "curve.jsonl").write_text("")
    (home / "checkpoint.pt").write_bytes(b"weights")
    return home
