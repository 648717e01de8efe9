"""What a point's mark says: colour for data, shape for model, size for samples seen, hollow for other sources."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from .labels import short_count
from .style import INK, LINE_COLOURS, MARKERS, MUTED, PALETTE, LegendGroup
from .views import budgets_of, cells_of, names_by_size

_AREAS = (11.0, 62.0)
"""Points squared: the smallest and the largest budget."""


@dataclass(frozen=True)
class Marks:
    """The marks of one study, the same in all its figures."""

    colours: dict[str, str]
    """Colour by data."""
    shapes: dict[str, str]
    """Marker by model."""
    budgets: tuple[float, ...]
    """Samples seen, ascending, one a size."""
    lines: dict[str, str]
    """Line colour by source; the first is the study's own, its marks are filled."""

    def area(self, samples_seen: float) -> float:
        """Area of a mark, points squared, by the nearest budget (in logs)."""
        nearest = int(np.argmin(np.abs(np.log(self.budgets) - np.log(samples_seen))))
        low, high = _AREAS
        return low + (high - low) * nearest / max(1, len(self.budgets) - 1)

    def draw(self, axes: Axes, points: pd.DataFrame) -> None:
        """Scatter points (columns of the tidy table, plus `error`) against compute; small marks lie on top."""
        for row in points.sort_values("samples_seen", ascending=False).itertuples():
            filled = row.source == next(iter(self.lines))
            axes.scatter(
                row.compute_gmacs,
                row.error,
                s=self.area(row.samples_seen),
                marker=self.shapes[row.model],
                facecolor=self.colours[row.data] if filled else "none",
                edgecolor=INK if filled else self.colours[row.data],
                linewidth=0.4 if filled else 1.1,
                zorder=3,
            )

    def data_handles(self) -> list[Line2D]:
        """Legend entries for the colours."""
        return [_handle(name, "o", colour, 26) for name, colour in self.colours.items()]

    def model_handles(self) -> list[Line2D]:
        """Legend entries for the shapes."""
        return [_handle(name, shape, MUTED, 26) for name, shape in self.shapes.items()]

    def budget_handles(self) -> list[Line2D]:
        """Legend entries for the sizes."""
        return [_handle(short_count(budget), "o", MUTED, self.area(budget)) for budget in self.budgets]


def marks_for(metrics: pd.DataFrame) -> Marks:
    """Assign marks to all models, data and budgets of a tidy table, each in order of size."""
    cells = cells_of(metrics)
    sources = list(cells["source"].unique())
    lines = {source: LINE_COLOURS[i % len(LINE_COLOURS)] for i, source in enumerate(sources)}
    colours: dict[str, str] = {}
    for name in names_by_size(cells, "data", "unique_pairs"):
        # Data of another source takes the colour of that source's line.
        source = cells.loc[cells["data"] == name, "source"].iloc[0]
        own = cells.loc[cells["source"] == source, "data"].nunique()
        lone = source != sources[0] and own == 1
        colours[name] = lines[source] if lone else PALETTE[len(colours) % len(PALETTE)]
    models = cells.sort_values("gmacs_per_sample", kind="stable")["model"].unique()
    shapes = {model: MARKERS[i % len(MARKERS)] for i, model in enumerate(models)}
    return Marks(colours, shapes, tuple(budgets_of(cells["samples_seen"])), lines)


def study_legends(marks: Marks) -> list[LegendGroup]:
    """The three legends of a figure whose marks say all."""
    return [
        ("data", marks.data_handles(), 0.06),
        ("model", marks.model_handles(), 0.4),
        ("samples seen", marks.budget_handles(), 0.74),
    ]


def _handle(label: str, marker: str, colour: str, area: float) -> Line2D:
    return Line2D(
        [], [], linestyle="", marker=marker, markersize=area**0.5, color=colour, label=label,
        markeredgecolor=INK, markeredgewidth=0.4,
    )  # fmt: skip
