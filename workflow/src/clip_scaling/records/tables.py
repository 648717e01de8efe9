"""The study's tables: one tidy table of all metrics, and the record of the learning-rate search."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ManifestError
from .files import read_json

COLUMNS = [
    "cell",
    "model",
    "data",
    "unique_pairs",
    "samples_seen",
    "seed",
    "gmacs_per_sample",
    "compute_gmacs",
    "dataset",
    "task",
    "metric",
    "value",
    "ci_low",
    "ci_high",
    "n",
    "source",
]
"""Of tables/metrics: docs/design.md says what each means."""


def collect_metrics(
    cells: list[str], folder: Path, sources: Mapping[str, str], fine_tuned: dict[str, list[str]] | None = None
) -> pd.DataFrame:
    """Tidy table of every metric of every cell, in the order of `cells`.

    cells: names. folder: results/{study}. sources: the training distribution by cell.
    fine_tuned: the sets that a cell was fine-tuned on, by cell.
    Samples seen and compute are what training recorded. A cell that diverged has no rows: it was not evaluated.
    ManifestError where a file is of another cell.
    """
    rows: list[dict[str, Any]] = []
    for cell in cells:
        trained = read_json(folder / "train" / cell / "train.json")
        measured = [read_json(folder / "evaluate" / cell / "metrics.json")]
        measured += [
            read_json(folder / "fine_tune" / cell / dataset / "metrics.json")
            for dataset in (fine_tuned or {}).get(cell, [])
        ]
        for name, found in (("train.json", trained["cell"]), *(("metrics.json", part["cell"]) for part in measured)):
            if found != cell:
                raise ManifestError(
                    f"{folder}: {name} of {cell} says it is of {found}. Delete it and run snakemake again."
                )
        about = {key: trained[key] for key in COLUMNS[:8]}
        rows += [about | metric | {"source": sources[cell]} for part in measured for metric in part["metrics"]]
    return pd.DataFrame(rows, columns=COLUMNS)


CELL_COLUMNS = [
    "cell",
    "state",
    "steps",
    "unique_pairs",
    "samples_seen",
    "epochs",
    "samples_trained",
    "final_loss",
    "seconds",
    "ranks",
    "events",
    "attempts",
    "lost_samples",
    "seen_digest",
    "weights_sha256",
]
"""Of tables/cells: one row a cell, diverged ones too."""


def collect_cells(cells: list[str], folder: Path) -> pd.DataFrame:
    """One row a cell: how its training ended and what it took.

    epochs: how often it saw each of its unique pairs. events, attempts: their number.
    """
    rows = []
    for cell in cells:
        record = read_json(folder / "train" / cell / "train.json")
        derived: dict[str, Any] = {key: len(record[key]) for key in ("events", "attempts")}
        derived["epochs"] = round(record["samples_seen"] / record["unique_pairs"], 4)
        rows.append(record | derived)
    return pd.DataFrame(rows, columns=CELL_COLUMNS)


CURVE_COLUMNS = ["run", "samples_seen", "dataset", "task", "metric", "value", "ci_low", "ci_high", "n"]


def gather_learning_curves(states: list[Path], cells: Path) -> pd.DataFrame:
    """Every metric of every cell on its way and at its end, one row a number, by run and samples seen.

    states: metrics.json of saved states; run is the cell, or the trunk. cells: metrics.csv, the ends of the cells.
    """
    rows = []
    for path in states:
        found = read_json(path)
        rows += [{"run": found["cell"], "samples_seen": found["samples_seen"]} | row for row in found["metrics"]]
    ends = pd.read_csv(cells).rename(columns={"cell": "run"})
    on_the_way = pd.DataFrame(rows, columns=CURVE_COLUMNS).astype(ends[CURVE_COLUMNS].dtypes)
    table = pd.concat([on_the_way, ends[CURVE_COLUMNS]])
    return table.sort_values(["run", "dataset", "metric", "samples_seen"], kind="stable", ignore_index=True)


def gather_learning_rates(records: list[Path]) -> pd.DataFrame:
    """One row a (model, learning rate) with the final training loss; `chosen` marks each model's lowest."""
    rows = []
    for path in records:
        trained = read_json(path)
        rows.append(
            {
                "model": trained["model"],
                "data": trained["data"],
                "samples_seen": trained["samples_seen"],
                "global_batch_size": trained["recipe"]["global_batch_size"],
                "learning_rate": trained["recipe"]["learning_rate"],
                "final_loss": trained["final_loss"],
            }
        )
    table = pd.DataFrame(rows).sort_values(["model", "learning_rate"], ignore_index=True)
    table["chosen"] = table.groupby("model")["final_loss"].transform("min") == table["final_loss"]
    return table
