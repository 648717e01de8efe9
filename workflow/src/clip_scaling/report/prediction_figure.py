"""Predicted against measured error of every run, by target."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..records.metrics import is_loss
from .axes import plain_log_axis
from .labels import dataset_title, metric_title
from .marks import Marks, marks_for, study_legends
from .style import COLUMN_WIDTH, MUTED, TEXT_WIDTH, figure_style, figure_with_legends


def prediction_figure(
    metrics: pd.DataFrame, predictions: pd.DataFrame, targets: list[tuple[str, str]], methods: Mapping[str, str]
) -> Figure:
    """Measured error (x) against predicted error (y), one panel a target; on the diagonal the law was right.

    predictions: tables/predictions.csv. methods: the method to show by source, where not the first. Bars: intervals.
    Rows without a measurement (predictions for runs that nobody made) are not drawn.
    Where none is left, since no target has a law, the figure says so.
    """
    known = predictions.dropna(subset=["predicted", "actual"])
    drawn = {target: _of_target(known, *target, methods) for target in targets}
    drawn = {target: rows for target, rows in drawn.items() if len(rows)}
    if not drawn:
        return _nothing_to_draw()
    marks = marks_for(metrics)
    columns = min(3, len(drawn))
    rows = math.ceil(len(drawn) / columns)
    width, panel_height = (COLUMN_WIDTH, 3.0) if len(drawn) == 1 else (TEXT_WIDTH, 2.3)
    with figure_style():
        figure, upper = figure_with_legends(width, rows * panel_height, study_legends(marks))
        grid = upper.subplots(rows, columns, squeeze=False)
        for axes, ((dataset, metric), frame) in zip(grid.flat, drawn.items(), strict=False):
            _draw(axes, frame, marks)
            axes.set_title(dataset_title(dataset), loc="left", pad=14)
            axes.annotate(metric_title(metric), (0, 1), (0, 4), xycoords="axes fraction",
                          textcoords="offset points", fontsize=6.5, color=MUTED)  # fmt: skip
        for axes in grid.flat[len(drawn) :]:
            axes.set_axis_off()
        upper.supxlabel("measured error", fontsize=7)
        upper.supylabel("predicted error", fontsize=7)
    return figure


def _nothing_to_draw() -> Figure:
    with figure_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 0.5))
        figure.text(0.5, 0.5, "No target has a law: there is nothing to predict with.", ha="center", va="center")
    return figure


def _of_target(predictions: pd.DataFrame, dataset: str, metric: str, methods: Mapping[str, str]) -> pd.DataFrame:
    """Rows of a target as errors, one method a source."""
    rows = predictions[(predictions["target"] == dataset) & (predictions["metric"] == metric)]
    first = rows.groupby("source")["method"].transform("first")
    wanted = [methods.get(source, method) for source, method in zip(rows["source"], first, strict=True)]
    rows = rows[rows["method"] == wanted]
    if is_loss(metric):
        return rows
    return rows.assign(
        predicted=1 - rows["predicted"], actual=1 - rows["actual"], low=1 - rows["high"], high=1 - rows["low"]
    )


def _draw(axes: Axes, frame: pd.DataFrame, marks: Marks) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_aspect("equal")
    ends = pd.concat([frame["actual"], frame["predicted"]])
    room = (ends.max() / ends.min()) ** 0.07
    limits = (ends.min() / room, ends.max() * room)
    axes.plot(limits, limits, color=MUTED, linewidth=0.8, zorder=1)
    bars = frame.dropna(subset=["low", "high"])
    axes.vlines(bars["actual"], bars["low"], bars["high"], color=MUTED, linewidth=0.5, alpha=0.6, zorder=1)
    marks.draw(axes, frame.assign(compute_gmacs=frame["actual"], error=frame["predicted"]))
    axes.set_xlim(limits)
    axes.set_ylim(limits)
    plain_log_axis(axes.xaxis, *limits, wanted=3)
    plain_log_axis(axes.yaxis, *limits, wanted=3)
