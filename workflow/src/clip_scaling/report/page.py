"""report.html: one file that opens offline, made from the study's tables, law files, records and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .inline_svg import inline_svg
from .names import dataset_title, metric_title, minus, short_count
from .summary import (
    cell_table,
    cost_summary,
    grid_summary,
    headlines,
    holdout_rows,
    law_rows,
    learning_rate_table,
    next_cell_rows,
    provenance_rows,
    recipe_tables,
)


@dataclass(frozen=True)
class StudyResults:
    """All that a page is made of. What a study does not have (training, data, a sweep, a figure) stays empty.

    laws: contents of law files, in the order in which the study names its targets. methods: the method to show by
    source, where not the first. records: train.json. manifests: of sources, subsets and evaluation sets.
    method_table: tables/methods.csv. figures: SVG text by kind, a key of `FIGURE_LABELS`.
    target_figures: SVG text by (dataset, metric).
    """

    name: str
    title: str
    metrics: pd.DataFrame
    law_table: pd.DataFrame
    laws: Sequence[dict[str, Any]]
    methods: Mapping[str, str] = field(default_factory=dict)
    records: Sequence[dict[str, Any]] = ()
    manifests: Sequence[dict[str, Any]] = ()
    sweep: pd.DataFrame | None = None
    method_table: pd.DataFrame | None = None
    figures: Mapping[str, str] = field(default_factory=dict)
    target_figures: Mapping[tuple[str, str], str] = field(default_factory=dict)


FIGURE_LABELS = {
    "laws": "Error against total compute, both logarithmic, one panel a target, with each source's fitted power law.",
    "bottleneck": "Held-out error against samples seen, one panel a model, one line a training set.",
    "learning-curves": "What a model has learnt against samples seen, one panel a model, one line a run.",
    "predictions": "Error predicted by the law against measured error, one panel a target.",
    "allocation": "Model size and samples seen of least error against the compute budget, with what was trained.",
    "linear-probes": "Error of linear probes against total compute, one panel a target, with each source's power law.",
}
"""Kinds of figures that a page shows, with what a reader who does not see them is told."""


def render_report(study: StudyResults) -> str:
    """The page as one HTML text. The same study gives the same text."""
    environment = Environment(
        loader=PackageLoader("clip_scaling.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": short_count, "power": _power, "minus": minus, "short": lambda text: text[:12]}
    figures = {kind: Markup(inline_svg(svg, kind, FIGURE_LABELS[kind])) for kind, svg in study.figures.items()}
    target_figures = []
    for i, ((dataset, metric), svg) in enumerate(study.target_figures.items()):
        name = f"{dataset_title(dataset)}, {metric_title(metric)}"
        target_figures.append((name, Markup(inline_svg(svg, f"target-{i}", f"Error against total compute: {name}."))))
    return environment.get_template("report.html.j2").render(
        study=study,
        grid=grid_summary(study.metrics),
        headlines=headlines(study.laws, study.methods),
        laws=law_rows(study.law_table),
        holdouts=holdout_rows(study.method_table),
        next_cells=next_cell_rows(study.laws),
        cost=cost_summary(study.records),
        cells=cell_table(study.metrics, study.records),
        recipes=recipe_tables(study.records),
        sweep=learning_rate_table(study.sweep),
        provenance=provenance_rows(study.records),
        sources=_of_kind(study.manifests, "source"),
        subsets=_of_kind(study.manifests, "subset"),
        evaluations=_of_kind(study.manifests, "evaluation"),
        figures=figures,
        target_figures=target_figures,
    )


def _of_kind(manifests: Sequence[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def _power(value: float) -> Markup:
    """1.94e11 -> 1.9 × 10<sup>11</sup>; plain below ten thousand."""
    if value < 1e4:
        return Markup(f"{value:.2g}" if value < 10 else f"{value:,.0f}")
    mantissa, exponent = f"{value:.1e}".split("e")
    return Markup(f"{mantissa} × 10<sup>{int(exponent)}</sup>")
