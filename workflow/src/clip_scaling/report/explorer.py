"""What the page's charts are drawn from: cells, points of every target, curves. Laws come from the law files."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ..records.laws import LawFile
from ..records.metrics import is_loss
from ..records.training import TrainRecord
from .labels import dataset_title, error_label, gmacs_text, metric_title, short_count, source_title
from .marks import Marks, marks_for
from .run_figures import CURVE_LABELS
from .style import INK
from .views import cells_of, headline_fits, points_of

EVALUATED = "evaluated:"
"""Begins the names of curves that are made of evaluations in full."""
CURVE_POINTS = 60
"""Most points of a learning curve, evenly spaced on its logarithmic axis."""

_SHAPES = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "P": "cross", "v": "triangle-down",
    "X": "M-.6-.9L0-.3L.6-.9L.9-.6L.3 0L.9.6L.6.9L0 .3L-.6.9L-.9.6L-.3 0L-.9-.6Z",
    "p": "M0-1L.95-.31L.59.81L-.59.81L-.95-.31Z",
}  # fmt: skip
"""Vega's shapes for matplotlib's."""


def explorer_data(
    metrics: pd.DataFrame,
    laws: Sequence[LawFile],
    methods: Mapping[str, str],
    records: Sequence[TrainRecord],
    curves: Mapping[str, pd.DataFrame],
) -> dict[str, Any]:
    """One JSON value: {sources, lines, data, models, cells, targets, curves, quantities}.

    sources, data, models: [{name, ...its mark}], in order of size. cells: what hover and click show, a cell a row.
    targets: [{dataset, metric, title, axis, file, headline, points}] in the study's order; a point is
    [cell, error, low, high], cell a row number of `cells`. curves: [{cell, quantity, samples, value}].
    """
    cells = cells_of(metrics)
    marks = marks_for(metrics)
    numbers = {(row.source, row.cell): i for i, row in enumerate(cells.itertuples())}
    by_cell = {record.cell: record for record in records}
    sizes = cells.drop_duplicates("model").set_index("model")["gmacs_per_sample"]
    pairs = cells.drop_duplicates("data").set_index("data")["unique_pairs"]
    return {
        "sources": [{"name": name, "title": source_title(name)} for name in marks.lines],
        "lines": {name: colour for name, colour in marks.lines.items() if colour != INK},
        "data": [{"name": name, "colour": colour, "size": short_count(pairs[name])}
                 for name, colour in marks.colours.items()],
        "models": [{"name": name, "shape": _SHAPES[shape], "size": gmacs_text(sizes[name])}
                   for name, shape in marks.shapes.items()],
        "cells": [_cell(row, by_cell.get(row["cell"]), marks) for row in cells.to_dict("records")],
        "targets": [_target(metrics, law, methods, numbers) for law in laws],
        "curves": _curves(curves, numbers, cells),
        "quantities": {name: quantity_title(name) for curve in curves.values() for name in curve if name != "samples"},
    }  # fmt: skip


def quantity_title(name: str) -> str:
    """What a learning curve shows: `loss`, `imagenet_acc1` (released runs), or `{dataset}/{metric}` of a validation.

    With EVALUATED before it, of an evaluation in full.
    """
    if name in CURVE_LABELS:
        return CURVE_LABELS[name].replace("\n", " ")
    dataset, _, metric = name.removeprefix(EVALUATED).rpartition("/")
    unit = " (nats)" if is_loss(metric) else ""
    how = "evaluated on its way" if name.startswith(EVALUATED) else "validated while training"
    return f"{dataset_title(dataset)}, {metric_title(metric)}{unit}, {how}"


def _cell(row: dict[str, Any], record: TrainRecord | None, marks: Marks) -> dict[str, Any]:
    about = {key: row[key] for key in ("cell", "model", "data", "source", "seed")}
    about |= {key: float(row[key]) for key in ("unique_pairs", "samples_seen", "gmacs_per_sample", "compute_gmacs")}
    about["area"] = round(marks.area(row["samples_seen"]), 1)
    if record is None:
        return about
    made = record.provenance
    return about | {
        "recipe": {key: value for key, value in record.recipe.items() if value is not None},
        "made": {
            "state": record.state,
            "final training loss": record.final_loss,
            "minutes": round(record.seconds / 60, 2),
            "device": f"{record.device}, ranks {record.ranks}, threads {record.threads}",
            "code": made.commit,
            "finished (UTC)": made.finished_utc,
            "weights sha256": record.weights_sha256,
            "order of samples": record.seen_digest,
        },
    }


def _target(
    metrics: pd.DataFrame, law: LawFile, methods: Mapping[str, str], numbers: Mapping[tuple[str, str], int]
) -> dict[str, Any]:
    points = points_of(metrics, law.target, law.metric)
    rows = []
    for row in points.itertuples():
        ends = [row.ci_low, row.ci_high]
        ends = ends if is_loss(law.metric) else [1 - end for end in reversed(ends)]
        rows.append([numbers[row.source, row.cell], _short(row.error), *map(_short, ends)])
    return {
        "dataset": law.target,
        "metric": law.metric,
        "title": f"{dataset_title(law.target)}, {metric_title(law.metric)}",
        "axis": error_label(law.metric),
        "is_loss": is_loss(law.metric),
        "file": law.place,
        "headline": {fit.source: fit.method for fit in headline_fits(law, methods)},
        "points": rows,
    }


def _curves(
    curves: Mapping[str, pd.DataFrame], numbers: Mapping[tuple[str, str], int], cells: pd.DataFrame
) -> list[dict[str, Any]]:
    """Of each cell its columns but `samples` as curves, thinned."""
    found = []
    for source, cell in cells[["source", "cell"]].itertuples(index=False):
        for quantity in curves[cell].columns.drop("samples") if cell in curves else []:
            curve = curves[cell][["samples", quantity]].dropna()
            if len(curve):
                kept = curve.iloc[_thinned(curve["samples"].to_numpy(dtype=float))]
                found.append(
                    {
                        "cell": numbers[source, cell],
                        "quantity": quantity,
                        "samples": [float(value) for value in kept["samples"]],
                        "value": [_short(value) for value in kept[quantity]],
                    }
                )
    return found


def _thinned(samples: np.ndarray) -> np.ndarray:
    """Positions of at most `CURVE_POINTS` samples: the first, the last, and even steps of their logarithm between."""
    if len(samples) <= CURVE_POINTS:
        return np.arange(len(samples))
    wanted = np.geomspace(samples[0], samples[-1], CURVE_POINTS)
    return np.unique(np.searchsorted(samples, wanted).clip(0, len(samples) - 1))


def _short(value: float) -> float | None:
    """Six digits are more than a chart shows; a number that is missing stays missing."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
