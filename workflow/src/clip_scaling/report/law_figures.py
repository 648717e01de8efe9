"""Error against compute with its law, in the manner of the paper's figures 1 and 2 (arXiv 2212.07143)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..records.laws import FittedLaw, LawFile
from .axes import plain_log_axis, power_log_axis
from .labels import dataset_title, error_label, minus, source_title, supported
from .marks import Marks, marks_for, study_legends
from .style import COLUMN_WIDTH, MUTED, TEXT_WIDTH, figure_style, figure_with_legends
from .views import headline_fits, points_of

_COMPUTE = "total compute (GMAC per sample × samples seen)"


def law_figure(metrics: pd.DataFrame, laws: Sequence[LawFile], methods: Mapping[str, str]) -> Figure:
    """One panel a law, with one legend for all; a single law is set at column width, several at text width.

    metrics: the tidy table. laws: contents of law files. methods: the method to show by source, where not the first.
    """
    marks = marks_for(metrics)
    # Equations of several sources need the width of three panels in a row.
    several = any(len({fit.source for fit in law.fits}) > 1 for law in laws)
    columns = min(3, len(laws)) if several or len(laws) not in (4, 7, 8) else 4
    rows = math.ceil(len(laws) / columns)
    single = len(laws) == 1
    width, panel_height = (COLUMN_WIDTH, 2.7) if single else (TEXT_WIDTH, 2.2)
    with figure_style():
        figure, panels = figure_with_legends(width, rows * panel_height, study_legends(marks))
        grid = panels.subplots(rows, columns, squeeze=False)
        for axes, law in zip(grid.flat, laws, strict=False):
            draw_law(axes, points_of(metrics, law.target, law.metric), law, marks, methods)
        for axes in grid.flat[len(laws) :]:
            axes.set_axis_off()
        panels.supxlabel(_COMPUTE, fontsize=7)
    return figure


def draw_law(axes: Axes, points: pd.DataFrame, law: LawFile, marks: Marks, methods: Mapping[str, str]) -> None:
    """Draw points and each source's headline law; equations stand above the axes, where no point can be.

    A line is solid over the points' compute and dashed beyond; a fit that is no law gets no line. Runs without any
    error have no place on a log axis; the panel's title counts them.
    """
    faultless = int((points["error"] <= 0).sum())
    points = points[points["error"] > 0]
    axes.set_xscale("log")
    axes.set_yscale("log")
    marks.draw(axes, points)
    fits = headline_fits(law, methods)
    lines = [_draw_fit(axes, fit, points, marks.lines[fit.source]) for fit in fits]
    for i, (fit, text) in enumerate(zip(reversed(fits), reversed(lines), strict=True)):
        label = f"{source_title(fit.source)}: {text}" if len(fits) > 1 else text
        colour = marks.lines[fit.source] if fit.is_law else MUTED
        axes.annotate(label, (0, 1), (0, 4 + 9 * i), xycoords="axes fraction", textcoords="offset points",
                      color=colour, fontsize=6.5)  # fmt: skip
    left_out = f" ({faultless} runs without error not shown)" if faultless else ""
    axes.set_title(dataset_title(law.target) + left_out, loc="left", pad=6 + 9 * len(fits))
    axes.set_ylabel(error_label(law.metric))
    if len(points):
        _limit(axes, points, fits)


def _draw_fit(axes: Axes, fit: FittedLaw, points: pd.DataFrame, colour: str) -> str:
    """Draw one fit's curve and band; return its equation, or the words that there is none."""
    if not fit.is_law:
        return "no law"
    own = points[points["source"] == fit.source]
    curve = pd.DataFrame([dict(place) for place in fit.curve])
    largest = own["compute_gmacs"].max()
    inside, beyond = curve[curve["compute_gmacs"] <= largest], curve[curve["compute_gmacs"] >= largest]
    if len(inside) and len(beyond):
        beyond = pd.concat([inside.tail(1), beyond])
    axes.plot(inside["compute_gmacs"], inside["error"], color=colour, zorder=2)
    axes.plot(beyond["compute_gmacs"], beyond["error"], color=colour, zorder=2, linestyle=(0, (4, 2)))
    if {"low", "high"} <= set(curve.columns):
        band = curve.dropna(subset=["low", "high"])
        axes.fill_between(band["compute_gmacs"], band["low"].astype(float), band["high"].astype(float),
                          color=colour, alpha=0.12, linewidth=0, zorder=1)  # fmt: skip
    return equation(fit) + (f"  ({fit.verdict.reservation})" if fit.verdict.reservation else "")


def equation(fit: FittedLaw) -> str:
    """`E = 5.86 C^-0.111` as mathtext, digits by the interval, plus the floor where the fit has one."""
    floor = fit.floor
    tail = f" + {floor:.3g}" if floor is not None and math.isfinite(floor) else ""
    exponent = supported(fit.alpha, fit.alpha_low, fit.alpha_high)
    return rf"$E = {_scientific(fit.beta)}\,C^{{{exponent}}}${tail}"


def _scientific(value: float | None) -> str:
    """Three digits, as mathtext; powers of ten outside 0.001 to 10,000."""
    if value is None:
        return ""
    if 1e-3 <= abs(value) < 1e4:
        return f"{value:.3g}" if abs(value) < 1e3 else f"{value:.0f}"
    mantissa, exponent = f"{value:.2e}".split("e")
    return rf"{mantissa}\times 10^{{{minus(str(int(exponent)))}}}"


def _limit(axes: Axes, points: pd.DataFrame, fits: list[FittedLaw]) -> None:
    """Limits from the points, with room to the right for what the laws say beyond them; a wide band may leave."""
    x_low, x_high = points["compute_gmacs"].min(), points["compute_gmacs"].max()
    y_low, y_high = points["error"].min(), points["error"].max()
    if any(fit.is_law for fit in fits):
        ends = [fit.curve[-1] for fit in fits if fit.is_law and fit.curve]
        x_high = max([x_high, *(end.compute_gmacs for end in ends)])
        y_low = min([y_low, *(end.error for end in ends)])
    x_room, y_room = max(1.1, (x_high / x_low) ** 0.06), max(1.01, (y_high / y_low) ** 0.08)
    axes.set_xlim(x_low / x_room, x_high * x_room)
    axes.set_ylim(y_low / y_room, y_high * y_room)
    power_log_axis(axes.xaxis, *axes.get_xlim())
    plain_log_axis(axes.yaxis, *axes.get_ylim())
