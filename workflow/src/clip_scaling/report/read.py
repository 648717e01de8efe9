"""The files of a finished study, read for its page."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ..cost.results import Results, last_plan, used_seconds
from ..published.tables import read_learning_curves
from ..records.base import Table
from ..records.curve import TrainingPoint, read_curve
from ..records.data import DataCard, read_any_manifest
from ..records.filenames import CONTACT_SHEET, CURVE
from ..records.files import read_json
from ..records.frames import read_frame
from ..records.law_tables import LEAVE_OUT
from ..records.laws import LawFile
from ..records.training import TrainRecord
from ..study.paths import StudyPaths
from .explorer import EVALUATED
from .page import ShownCard, StudyResults

MAX_SHEET_BYTES = 150_000
"""A contact sheet that is larger stays beside the page."""
TABLES = ("laws", "metrics", "methods", "cells", "comparisons", "sensitivity", "leave_out", "allocation", "next_cells")
"""Tables that the page carries, most asked for first; predictions are last, the law files hold them too."""


@dataclass(frozen=True)
class Inputs:
    """Where a study's files are, beside those at fixed places in its folder, and how it is called.

    folder: results/{study}. methods: headline method by source. laws: law files, most telling first. manifests: of
    sources, subsets, evaluation sets. cards: {folder}/data/{data}/card.json. points: learning_curves.csv, where cells
    are evaluated on their way. figures: keys of page.FIGURE_LABELS that were drawn. single_figures: (dataset, metric)
    of laws that have a figure of their own. released: the folder of released tables where the cells were trained
    elsewhere, None where they were trained here.
    """

    folder: Path
    name: str
    title: str
    methods: Mapping[str, str]
    configfile: str
    laws: Sequence[Path]
    manifests: Sequence[Path] = ()
    cards: Sequence[Path] = ()
    points: Path | None = None
    figures: Sequence[str] = ()
    single_figures: Sequence[tuple[str, str]] = ()
    released: Path | None = None


def read_study(inputs: Inputs) -> StudyResults:
    """All that the page shows. ManifestError where a JSON file is missing."""
    folder = inputs.folder
    tables = folder / "tables"
    laws = [LawFile.read(path) for path in inputs.laws]
    trained = inputs.released is None
    cells = list(read_frame(tables / "cells.csv")["cell"]) if trained else []
    paths = StudyPaths(folder.name, folder.parent)
    records, metrics = [paths.trained(cell) for cell in cells], [paths.metrics(cell) for cell in cells]
    plan, sweep = paths.plan(), paths.table("learning_rates")
    texts = [*inputs.laws, tables / "laws.csv", tables / "metrics.csv", plan, *records, *metrics]
    texts += [tables / f"{table}.csv" for table in TABLES[2:]]
    texts += [inputs.points] if inputs.points else []
    texts += [*inputs.cards, *inputs.manifests, tables / "predictions.csv"]
    results = Results(folder.parent.parent, folder.name)
    trained_cells = [TrainRecord.read(path) for path in records]
    return StudyResults(
        name=inputs.name,
        title=inputs.title,
        metrics=read_frame(tables / "metrics.parquet"),
        law_table=read_frame(tables / "laws.csv"),
        method_table=read_frame(tables / "methods.csv"),
        leave_out=read_rows(tables / "leave_out.csv", LEAVE_OUT),
        laws=laws,
        methods=inputs.methods,
        records=trained_cells,
        job_seconds={cell.cell: used_seconds(results, cell.cell, cell.seconds) for cell in trained_cells},
        manifests=[read_any_manifest(path) for path in inputs.manifests],
        cards=[_card(path) for path in inputs.cards],
        # The plan and the search are asked for by themselves, and shown where they were made.
        plan=last_plan(results) if trained else None,
        sweep=read_frame(sweep) if trained and sweep.is_file() else None,
        curves=_released_curves(inputs.released) if inputs.released else training_curves(inputs, cells),
        figures={kind: (folder / "figures" / f"{kind}.svg").read_text(encoding="utf-8") for kind in inputs.figures},
        single_figures=inputs.single_figures,
        files={_from_page(path, folder): path.read_text(encoding="utf-8") for path in texts if path.is_file()},
        configfile=inputs.configfile,
    )


def _from_page(path: Path, folder: Path) -> str:
    """The path of a file as a link on the page has it: within the study's folder, or in results/data beside it."""
    if path.is_relative_to(folder):
        return path.relative_to(folder).as_posix()
    return f"../{path.relative_to(folder.parent).as_posix()}"


def read_rows(path: Path, form: Table) -> pd.DataFrame | None:
    """A table that may have no rows. ManifestError where it lacks a column."""
    table = read_frame(path).rename(columns=dict(form.earlier))
    form.check(table.columns, path)
    return table if len(table) else None


def _released_curves(folder: Path) -> dict[str, pd.DataFrame]:
    return {cell: curve.drop(columns="cell") for cell, curve in read_learning_curves(folder).items()}


def training_curves(inputs: Inputs, cells: Sequence[str]) -> dict[str, pd.DataFrame]:
    """Training loss, every number of the validations and of the evaluations on the way of each cell, by samples."""
    curves = {}
    points = read_frame(inputs.points) if inputs.points else pd.DataFrame({"run": []})
    for cell in cells:
        path = inputs.folder / "train" / cell / CURVE
        rows: list[dict[str, Any]] = [
            {"samples": point.samples}
            | ({"loss": point.loss} if isinstance(point, TrainingPoint) else point.validation)
            for point in (read_curve(path) if path.is_file() else [])
        ]
        for point in points[points["run"] == cell].to_dict("records"):
            rows.append(
                {"samples": point["samples_seen"], f"{EVALUATED}{point['dataset']}/{point['metric']}": point["value"]}
            )
        if rows:
            curves[cell] = pd.DataFrame(rows)
    return curves


def _card(path: Path) -> ShownCard:
    """A data card, with its contact sheet where there is one that is small enough. ManifestError as its record."""
    card: dict[str, Any] = read_json(path)
    DataCard.parse(card, path)
    sheet = path.with_name(CONTACT_SHEET)
    content = sheet.read_bytes() if sheet.is_file() else b""
    shown = content and len(content) <= MAX_SHEET_BYTES
    return ShownCard(
        path.parent.name,
        card,
        f"data:image/png;base64,{base64.b64encode(content).decode('ascii')}" if shown else "",
        f"data/{path.parent.name}/{CONTACT_SHEET}" if content else "",
    )
