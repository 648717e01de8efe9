"""How a compute budget is best shared between model and samples, with what was trained beneath."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .axes import count_log_axis, log_ticks, plain_log_axis, power_log_axis
from .labels import dataset_title, metric_title, source_title
from .style import COLUMN_WIDTH, INK, LINE_COLOURS, MUTED, TEXT_WIDTH, figure_style, figure_with_legends
from .views import cells_of

PANELS = (("gmacs", "gmacs_per_sample", "model size (GMAC per sample)"), ("samples", "samples_seen", "samples seen"))


def allocation_target(allocation: pd.DataFrame) -> tuple[str, str] | None:
    """The first target with an optimum; None where there is none."""
    known = allocation.dropna(subset=["gmacs"])
    return None if known.empty else (known["target"].iloc[0], known["metric"].iloc[0])


def allocation_figure(metrics: pd.DataFrame, allocation: pd.DataFrame, target: tuple[str, str] | None) -> Figure:
    """Model size and samples seen of least error against compute, a line a (source, form), with 95 % bands.

    allocation: tables/allocation.csv. Lines are dashed where the optimum lies beyond the models or samples measured;
    squares with bars are isoFLOP parabolas; small marks are the cells that were trained. target None: a note.
    """
    if target is None:
        return _nothing_to_draw()
    rows = allocation[(allocation["target"] == target[0]) & (allocation["metric"] == target[1])]
    rows = rows.dropna(subset=["gmacs"])
    keys = rows[["source", "method"]].drop_duplicates().itertuples(index=False)
    inks = {tuple(key): LINE_COLOURS[(i + 1) % len(LINE_COLOURS)] for i, key in enumerate(keys)}
    cells = cells_of(metrics)
    cells = cells[cells["source"].isin(rows["source"])]
    with figure_style():
        figure, upper = figure_with_legends(TEXT_WIDTH, 2.4, [("", _handles(inks), 0.06)])
        for axes, (name, column, label) in zip(upper.subplots(1, 2), PANELS, strict=True):
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.scatter(cells["compute_gmacs"], cells[column], s=7, color=MUTED, linewidth=0, zorder=2)
            for (source, method), colour in inks.items():
                own = rows[(rows["source"] == source) & (rows["method"] == method)].sort_values("compute_gmacs")
                _draw(axes, own, name, colour, is_parabola=method == "isoflop")
            axes.set_title(f"{dataset_title(target[0])}, {metric_title(target[1])}", loc="left")
            axes.set_ylabel(label)
            compute = pd.concat([rows["compute_gmacs"], cells["compute_gmacs"]])
            _limit(axes, compute, pd.concat([rows[name], cells[column]]), is_count=name == "samples")
        upper.supxlabel("compute budget (GMAC)", fontsize=7)
    return figure


def _draw(axes: Axes, rows: pd.DataFrame, name: str, colour: str, *, is_parabola: bool) -> None:
    bounded = rows.dropna(subset=[f"{name}_low", f"{name}_high"])
    ends = bounded["compute_gmacs"], bounded[f"{name}_low"], bounded[f"{name}_high"]
    if is_parabola:
        axes.vlines(*ends, color=colour, linewidth=0.8, zorder=3)
        axes.plot(rows["compute_gmacs"], rows[name], linestyle="", marker="s", markersize=3.5, color=colour,
                  markeredgecolor=INK, markeredgewidth=0.4, zorder=4)  # fmt: skip
        return
    axes.fill_between(*ends, color=colour, alpha=0.15, linewidth=0, zorder=1)
    axes.plot(rows["compute_gmacs"], rows[name], color=colour, linestyle=(0, (4, 2)), zorder=3)
    inside = rows[name].where(~rows["verdict"].str.contains("beyond"))
    axes.plot(rows["compute_gmacs"], inside, color=colour, zorder=3)


def _limit(axes: Axes, compute: pd.Series, values: pd.Series, *, is_count: bool) -> None:
    """From the optima and the cells; a wide band may leave."""
    axes.set_xlim(compute.min() / 1.3, compute.max() * 1.3)
    axes.set_ylim(values.min() / 1.5, values.max() * 1.5)
    power_log_axis(axes.xaxis, *axes.get_xlim())
    if is_count:
        count_log_axis(axes.yaxis, log_ticks(*axes.get_ylim(), wanted=3))
    else:
        plain_log_axis(axes.yaxis, *axes.get_ylim(), wanted=3)


def _handles(inks: dict[tuple[str, ...], str]) -> list[Line2D]:
    several = len({source for source, _ in inks}) > 1
    handles = []
    for (source, method), colour in inks.items():
        name = "isoFLOP parabolas" if method == "isoflop" else f"{method}, dashed beyond the grid"
        label = f"{source_title(source)}: {name}" if several else name
        look = {"marker": "s", "linestyle": ""} if method == "isoflop" else {}
        handles.append(Line2D([], [], color=colour, markersize=3.5, label=label, **look))  # type: ignore[arg-type]
    return [*handles, Line2D([], [], linestyle="", marker="o", markersize=2.5, color=MUTED, label="trained cells")]


def _nothing_to_draw() -> Figure:
    with figure_style():
        figure = Figure(figsize=(COLUMN_WIDTH, 0.5))
        figure.text(0.5, 0.5, "No target has an optimum: its grid bounds none.", ha="center", va="center")
    return figure
