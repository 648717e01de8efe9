"""report.html: one file that opens offline, made from the study's tables, law files, records and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from ..errors import ConfigError
from ..records.data import EvaluationSetManifest, Manifest, SourceManifest, SubsetManifest
from ..records.files import canonical_json
from ..records.laws import LawFile
from ..records.plan import PlanFile
from ..records.training import TrainRecord
from .account import comparison_rows, cost_rows, event_rows, left_out_rows, sensitivity_rows, unsupported
from .bundle import MAX_PAGE_BYTES, PackedFiles, chart_script, pack
from .charts import charts
from .explorer import explorer_data
from .inline_svg import inline_svg
from .labels import dataset_title, metric_title, minus, short_count
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
class ShownCard:
    """A data card on the page.

    card: content of data/{name}/card.json of the study. sheet: contact sheet as a data: address, empty if it is too
    large for the page. sheet_file: where it lies, empty where there is none.
    """

    name: str
    card: Mapping[str, Any]
    sheet: str = ""
    sheet_file: str = ""


@dataclass(frozen=True)
class StudyResults:
    """All that a page is made of. What a study does not have (training, data, a sweep, a figure) stays empty.

    laws: contents of law files, in the order in which the study names its targets. methods: the method to show by
    source, where not the first. records: of cells. job_seconds: of each cell's whole job. manifests: of sources,
    subsets and evaluation sets. method_table, leave_out: tables of these names. plan: the last.
    curves: by cell, columns `samples` and what was followed. figures: SVG text by kind, a key of `FIGURE_LABELS`.
    single_figures: (dataset, metric) of figures beside the page. files: text of the study's files by their path from
    the page, what matters most first. configfile: of the study, for the commands that draw its figures again.
    """

    name: str
    title: str
    metrics: pd.DataFrame
    law_table: pd.DataFrame
    laws: Sequence[LawFile]
    methods: Mapping[str, str] = field(default_factory=dict)
    records: Sequence[TrainRecord] = ()
    job_seconds: Mapping[str, float] = field(default_factory=dict)
    manifests: Sequence[Manifest] = ()
    cards: Sequence[ShownCard] = ()
    plan: PlanFile | None = None
    sweep: pd.DataFrame | None = None
    method_table: pd.DataFrame | None = None
    leave_out: pd.DataFrame | None = None
    curves: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    figures: Mapping[str, str] = field(default_factory=dict)
    single_figures: Sequence[tuple[str, str]] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    configfile: str = "config/laptop.yaml"


FIGURE_LABELS = {
    "laws": "Error against total compute, both logarithmic, one panel a target, with each source's fitted power law.",
    "bottleneck": "Held-out error against samples seen, one panel a model, one line a training set.",
    "learning-curves": "What a model has learnt against samples seen, one panel a model, one line a run.",
    "predictions": "Error predicted by the law against measured error, one panel a target.",
    "allocation": "Model size and samples seen of least error against the compute budget, with what was trained.",
    "linear-probes": "Error of linear probes against total compute, one panel a target, with each source's power law.",
}
"""Kinds of figures on a page, with their text for readers who cannot see them."""


def render_report(study: StudyResults) -> str:
    """The page as one HTML text of at most `MAX_PAGE_BYTES`. The same study gives the same text.

    Files of the study that would make it larger are left out, and the page names their number.
    ConfigError where the page is too large even without them.
    """
    environment = Environment(
        loader=PackageLoader("clip_scaling.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": short_count, "power": _power, "minus": minus, "short": lambda text: text[:12]}
    environment.filters |= {"hours": _hours, "without": lambda value, key: {k: v for k, v in value.items() if k != key}}
    explorer = explorer_data(study.metrics, study.laws, study.methods, study.records, study.curves)
    parts = {
        "study": study,
        "grid": grid_summary(study.metrics),
        "headlines": headlines(study.laws, study.methods),
        "laws": law_rows(study.law_table),
        "holdouts": holdout_rows(study.method_table),
        "next_cells": next_cell_rows(study.laws),
        "comparisons": comparison_rows(study.laws, study.methods),
        "left_out": left_out_rows(study.leave_out),
        "sensitivity": sensitivity_rows(study.laws, study.methods),
        "unsupported": unsupported(study.metrics, study.laws, study.methods, study.records),
        "cost": cost_summary(study.records, study.job_seconds),
        "costs": cost_rows(study.records, study.job_seconds, study.plan),
        "events": event_rows(study.records),
        "cells": cell_table(study.metrics, study.records),
        "recipes": recipe_tables(study.records),
        "sweep": learning_rate_table(study.sweep),
        "provenance": provenance_rows(study.records),
        "sources": [found for found in study.manifests if isinstance(found, SourceManifest)],
        "subsets": [found for found in study.manifests if isinstance(found, SubsetManifest)],
        "evaluations": [found for found in study.manifests if isinstance(found, EvaluationSetManifest)],
        "figures": {kind: Markup(inline_svg(svg, kind, FIGURE_LABELS[kind])) for kind, svg in study.figures.items()},
        "single_figures": [
            (f"{dataset_title(dataset)}, {metric_title(metric)}", f"figures/laws/{dataset}/{metric}")
            for dataset, metric in study.single_figures
        ],
        "version": version("clip-scaling"),
        "commits": sorted({record.provenance.commit or "unknown" for record in study.records}),
        "command": _command(study.configfile),
        "chart_script": Markup(chart_script()),
        "charts": Markup(_in_script(canonical_json(charts()))),
    }
    template = environment.get_template("report.html.j2")
    bare = template.render(parts | {"packed": PackedFiles("", (), tuple(study.files))})
    room = MAX_PAGE_BYTES - len(bare.encode())
    files = {"explorer.json": canonical_json(explorer), **study.files}
    packed = pack(files, room)
    if "explorer.json" not in packed.names:
        raise ConfigError(
            f"report.html of {study.name}: its tables and figures leave no room for the points of its charts below "
            f"{MAX_PAGE_BYTES / 1e6:g} MB. Name fewer targets under `evaluation` or `targets`."
        )
    return template.render(parts | {"packed": packed})


def _command(configfile: str) -> str:
    """What draws a figure again, but for the figure's path, which stands at {}."""
    study = "" if configfile == "config/laptop.yaml" else f" --configfile {configfile}"
    return f"snakemake --cores 1 --force {{}}{study}"


def _in_script(text: str) -> str:
    """JSON that no reader of HTML takes for the end of its element."""
    return text.replace("<", "\\u003c")


def _hours(value: float | None) -> str:
    """Two figures: `0.016`, `3.2`, `1,200`; empty where it is not known."""
    return "" if value is None else f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _power(value: float) -> Markup:
    """1.94e11 -> 1.9 × 10<sup>11</sup>; plain below ten thousand."""
    if value < 1e4:
        return Markup(f"{value:.2g}" if value < 10 else f"{value:,.0f}")
    mantissa, exponent = f"{value:.1e}".split("e")
    return Markup(f"{mantissa} × 10<sup>{int(exponent)}</sup>")
