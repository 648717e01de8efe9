"""One look for all figures: sizes, inks, a colour-blind-safe palette, and byte-deterministic saving."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure, SubFigure
from matplotlib.legend import Legend
from matplotlib.lines import Line2D

from ..records.files import atomic_path

COLUMN_WIDTH = 3.4
"""Inches: one column of a two-column paper."""
TEXT_WIDTH = 7.0
"""Inches: both columns."""
PNG_DPI = 300
"""What printers ask of a figure that is no drawing."""

# The page replaces these three by its own colours, so that figures follow light and dark. Nothing else uses them.
INK = "#1c2126"
MUTED = "#5d6670"
RULE = "#d9dde2"

# Okabe & Ito (2008), distinct under every common colour blindness; yellow is left out, too pale on white.
PALETTE = ("#e69f00", "#009e73", "#0072b2", "#cc79a7", "#56b4e9", "#d55e00")
LINE_COLOURS = (INK, "#d55e00", "#cc79a7", "#56b4e9")
MARKERS = ("o", "s", "^", "D", "P", "v", "X", "p")

_RC: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7,
    "axes.titlesize": 7.5,
    "axes.labelsize": 7,
    "axes.titleweight": "bold",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 6.5,
    "ytick.labelsize": 6.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "legend.fontsize": 6.5,
    "legend.title_fontsize": 6.5,
    "legend.frameon": False,
    "lines.linewidth": 1.0,
    "mathtext.default": "regular",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.hashsalt": "clip-scaling",
    "svg.fonttype": "path",
    "pdf.fonttype": 42,
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw and save inside this."""
    with mpl.rc_context(_RC):
        yield


def save_figure(figure: Figure, svg: Path, pdf: Path, png: Path | None = None) -> None:
    """Write a figure as SVG, PDF and PNG: the same figure gives the same bytes, on any day.

    SVG and PDF have no background, so that they stand on any paper or page; PNG is white, for slides and messages.
    """
    with figure_style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out by now; every file would do it again
        looks: list[tuple[Path, str, dict[str, Any]]] = [
            (svg, "svg", {"metadata": {"Date": None}}),
            (pdf, "pdf", {"metadata": {"CreationDate": None}}),
        ]
        if png is not None:
            looks.append((png, "png", {"dpi": PNG_DPI, "facecolor": "white", "metadata": {"Software": None}}))
        for path, kind, look in looks:
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format=kind, bbox_inches="tight", pad_inches=0.03, **look)


LegendGroup = tuple[str, list[Line2D], float]
"""Title, entries, left edge as a fraction of the figure's width."""


def figure_with_legends(width: float, height: float, groups: list[LegendGroup]) -> tuple[Figure, SubFigure]:
    """A figure and its upper part, `height` inches, to draw in; legends stand side by side below, off the points."""
    entries = max(len(handles) for _, handles, _ in groups)
    below = 0.13 * (entries + 1) + 0.04
    figure = Figure(figsize=(width, height + below), layout="constrained")
    grid = figure.add_gridspec(2, 1, height_ratios=[height, below])
    upper, lower = figure.add_subfigure(grid[0]), figure.add_subfigure(grid[1])
    axes = lower.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for title, handles, left in groups:
        # Legend, not axes.legend: the latter keeps only one and would draw it twice.
        legend = Legend(
            axes,
            handles,
            [str(handle.get_label()) for handle in handles],
            title=title,
            loc="upper left",
            bbox_to_anchor=(left, 1.0),
            borderaxespad=0,
            borderpad=0,
            handletextpad=0.6,
            labelspacing=0.35,
            handlelength=1.4,
            alignment="left",
        )
        legend.get_title().set_fontweight("bold")
        axes.add_artist(legend)
    return figure, upper
