"""Gather records of cells into the study's tables (columns: records/evaluation.py)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ManifestError
from ..records.evaluation import (
    CELLS_TABLE,
    LEARNING_CURVES_TABLE,
    LEARNING_RATES_TABLE,
    METRICS_TABLE,
    CheckpointMetrics,
)
from ..records.frames import read_frame
from ..records.training import TrainRecord
from ..study.paths import StudyPaths


def collect_metrics(
    cells: list[str], paths: StudyPaths, distributions: Mapping[str, str], fine_tuned: Mapping[str, list[str]]
) -> pd.DataFrame:
    """Collect every metric of every cell, in the order of `cells`, as tables/metrics.

    distributions: of training data, by cell. fine_tuned: the sets that a cell was fine-tuned on, by cell.
    Samples seen and compute are what training recorded. A cell that diverged has no rows: it was not evaluated.
    ManifestError where a file is of another cell.
    """
    rows: list[dict[str, Any]] = []
    for cell in cells:
        trained = TrainRecord.read(paths.trained(cell))
        _check_cell(paths.trained(cell), trained.cell, cell)
        about = {key: getattr(trained, key) for key in METRICS_TABLE.names[:8]}
        for path in (paths.metrics(cell), *(paths.fine_tuned(cell, dataset) for dataset in fine_tuned.get(cell, []))):
            found = CheckpointMetrics.read(path)
            _check_cell(path, found.cell, cell)
            rows += [about | row.model_dump() | {"source": distributions[cell]} for row in found.metrics]
    return pd.DataFrame(rows, columns=METRICS_TABLE.names)


def _check_cell(path: Path, found: str, cell: str) -> None:
    if found != cell:
        raise ManifestError(
            f"it is of {found}, not of {cell}", place=str(path), remedy="Delete it and run snakemake again."
        )


def collect_cells(cells: list[str], paths: StudyPaths) -> pd.DataFrame:
    """Collect how the training of each cell ended and what it took, as tables/cells."""
    rows = []
    for cell in cells:
        record = TrainRecord.read(paths.trained(cell))
        numbers = {"events": len(record.events), "attempts": len(record.attempts)}
        epochs = round(record.samples_seen / record.unique_pairs, 4)
        rows.append(record.model_dump() | numbers | {"epochs": epochs})
    return pd.DataFrame(rows, columns=CELLS_TABLE.names)


def gather_learning_curves(states: list[Path], cells: Path) -> pd.DataFrame:
    """Gather every metric of every run on its way and at its end, by run and samples seen.

    states: evaluations of saved states; run is the cell, or the trunk. cells: tables/metrics.csv, with their ends.
    """
    columns = LEARNING_CURVES_TABLE.names
    rows = []
    for path in states:
        found = CheckpointMetrics.read(path)
        rows += [{"run": found.cell, "samples_seen": found.samples_seen} | row.model_dump() for row in found.metrics]
    ends = read_frame(cells)
    METRICS_TABLE.check(ends.columns, cells)
    ends = ends.rename(columns={"cell": "run"})
    on_the_way = pd.DataFrame(rows, columns=columns).astype(ends[columns].dtypes)
    table = pd.concat([on_the_way, ends[columns]])
    return table.sort_values(["run", "dataset", "metric", "samples_seen"], kind="stable", ignore_index=True)


def gather_learning_rates(records: list[Path]) -> pd.DataFrame:
    """Gather the final training loss of each (model, learning rate); `chosen` marks each model's lowest."""
    rows = []
    for trained in map(TrainRecord.read, records):
        about = {key: getattr(trained, key) for key in ("model", "data", "samples_seen", "final_loss")}
        rows.append(about | {key: trained.recipe[key] for key in ("global_batch_size", "learning_rate")})
    columns = LEARNING_RATES_TABLE.names
    table = pd.DataFrame(rows, columns=columns[:-1]).sort_values(["model", "learning_rate"], ignore_index=True)
    table["chosen"] = table.groupby("model")["final_loss"].transform("min") == table["final_loss"]
    return table
