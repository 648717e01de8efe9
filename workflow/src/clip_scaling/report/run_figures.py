"""Training and data: learning curves, and what a larger training set buys (the data bottleneck)."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .axes import count_log_axis, log_ticks, plain_log_axis
from .labels import dataset_title, error_label, gmacs_text, short_count
from .marks import Marks, marks_for
from .style import COLUMN_WIDTH, INK, TEXT_WIDTH, LegendGroup, figure_style, figure_with_legends
from .views import budgets_of, cells_of, points_of

CURVE_LABELS = {"loss": "training loss (nats)", "imagenet_acc1": "ImageNet\nzero-shot top-1 accuracy"}


def learning_curve_figure(metrics: pd.DataFrame, curves: dict[str, pd.DataFrame], quantity: str) -> Figure:
    """A quantity against samples seen, one panel a model, one line a cell, colour for data, a dot at its end.

    curves: cell name -> rows in the order of samples (columns `samples` and `quantity`). A cell without one is not
    drawn. quantity: a key of `CURVE_LABELS`.
    """
    marks = marks_for(metrics)
    cells = cells_of(metrics)
    cells = cells[cells["cell"].isin(list(curves))]
    drawn = pd.concat([curves[cell][quantity] for cell in cells["cell"]])
    first = min(curve["samples"].min() for curve in curves.values())
    with figure_style():
        figure, panels = _panels(cells, marks, [("data", _line_handles(marks, cells), 0.06)])
        for model, axes in panels.items():
            for row in cells[cells["model"] == model].sort_values("samples_seen").itertuples():
                curve = curves[row.cell]
                colour = marks.colours[row.data]
                axes.plot(curve["samples"], curve[quantity], color=colour, linewidth=0.8, alpha=0.9)
                end = curve.iloc[-1:]
                axes.plot(end["samples"], end[quantity], marker="o", markersize=3.2, color=colour,
                          markeredgecolor=INK, markeredgewidth=0.4)  # fmt: skip
            axes.set_xscale("log")
            axes.set_xlim(first * 0.9, cells["samples_seen"].max() * 1.2)
            room = 0.04 * (drawn.max() - drawn.min())
            axes.set_ylim(drawn.min() - room, drawn.max() + room)
            count_log_axis(axes.xaxis, log_ticks(*axes.get_xlim(), wanted=3))
        next(iter(panels.values())).set_ylabel(CURVE_LABELS[quantity])
    return figure


def bottleneck_target(metrics: pd.DataFrame) -> tuple[str, str]:
    """The smoothest target: the first held-out contrastive loss, else the first target of the table."""
    losses = metrics[metrics["metric"] == "contrastive_loss"]
    row = (losses if len(losses) else metrics).iloc[0]
    return row["dataset"], row["metric"]


def bottleneck_figure(metrics: pd.DataFrame, dataset: str, metric: str) -> Figure:
    """Held-out error against samples seen, one line a data size, one panel a model of at least two budgets.

    Of several sources the one with the most data sizes is drawn.

    Where lines of small data part from those of large data, data is the bottleneck. Bars: 95 % intervals of the
    measurement, where the table has them. Seeds are drawn each; lines join their means.
    """
    marks = marks_for(metrics)
    points = points_of(metrics, dataset, metric)
    points = points[points["source"] == points.groupby("source", sort=False)["data"].nunique().idxmax()]
    several = points.groupby("model")["samples_seen"].transform(lambda seen: len(budgets_of(seen))) > 1
    points = points[several] if several.any() else points
    with figure_style():
        figure, panels = _panels(points, marks, [("data (unique pairs)", _data_handles(marks, points), 0.06)])
        for model, axes in panels.items():
            axes.set_xscale("log")
            axes.set_yscale("log")
            for data in marks.colours:
                rows = points[(points["model"] == model) & (points["data"] == data)].sort_values("samples_seen")
                means = rows.groupby("samples_seen")["error"].mean()
                axes.plot(means.index, means, color=marks.colours[data], zorder=2)
                _draw_intervals(axes, rows, marks.colours[data])
                axes.scatter(rows["samples_seen"], rows["error"], s=22, marker=marks.shapes[model], zorder=3,
                             color=marks.colours[data], edgecolor=INK, linewidth=0.4)  # fmt: skip
            axes.set_ylim(points["error"].min() * 0.97, points["error"].max() * 1.03)
            axes.set_xlim(points["samples_seen"].min() / 1.3, points["samples_seen"].max() * 1.3)
            plain_log_axis(axes.yaxis, *axes.get_ylim())
            count_log_axis(axes.xaxis, budgets_of(points["samples_seen"]))
        next(iter(panels.values())).set_ylabel(f"{dataset_title(dataset)}\n{error_label(metric)}")
    return figure


def _draw_intervals(axes: Axes, rows: pd.DataFrame, colour: str) -> None:
    """Bars from ci_low to ci_high around the value; the error is the value or its complement, so widths carry over."""
    known = rows.dropna(subset=["ci_low", "ci_high"])
    below, above = known["value"] - known["ci_low"], known["ci_high"] - known["value"]
    rising = (known["error"] == known["value"]).all()
    bars = (below, above) if rising else (above, below)
    axes.errorbar(known["samples_seen"], known["error"], yerr=bars, fmt="none", ecolor=colour, elinewidth=0.7, zorder=2)


def _panels(cells: pd.DataFrame, marks: Marks, legends: list[LegendGroup]) -> tuple[Figure, dict[str, Axes]]:
    """One axes a model (at most four in a row) above a legend; axes are shared."""
    models = [model for model in marks.shapes if model in set(cells["model"])]
    columns = min(4, len(models))
    rows = math.ceil(len(models) / columns)
    width = COLUMN_WIDTH if columns == 1 else TEXT_WIDTH
    figure, upper = figure_with_legends(width, 2.1 * rows, legends)
    grid = upper.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    for number, axes in enumerate(grid.flat):
        if number >= len(models):
            axes.set_axis_off()
        axes.tick_params(labelbottom=number + columns >= len(models))  # of each column the lowest that is drawn
    panels = dict(zip(models, grid.flat, strict=False))
    for model, axes in panels.items():
        gmacs = cells.loc[cells["model"] == model, "gmacs_per_sample"].iloc[0]
        axes.set_title(model, loc="left")
        axes.set_title(f"{gmacs_text(gmacs)} per sample", loc="right", fontsize=6, fontweight="normal")
    upper.supxlabel("samples seen", fontsize=7)
    return figure, panels


def _line_handles(marks: Marks, cells: pd.DataFrame) -> list[Line2D]:
    drawn = [data for data in marks.colours if data in set(cells["data"])]
    return [Line2D([], [], color=marks.colours[data], label=data) for data in drawn]


def _data_handles(marks: Marks, points: pd.DataFrame) -> list[Line2D]:
    unique = points.groupby("data")["unique_pairs"].first()
    return [
        Line2D([], [], color=marks.colours[data], label=f"{data} ({short_count(unique[data])})")
        for data in marks.colours
        if data in unique.index
    ]
