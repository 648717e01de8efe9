"""What the page says of cost, events, the choices behind an exponent, and what the data do not support."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ..records.filenames import law_place
from ..records.laws import LawFile
from ..records.plan import PlanFile
from ..records.training import TrainRecord
from .labels import dataset_title, metric_title, source_title, with_interval
from .summary import device_hours, headlines
from .views import cells_of, headline_fits


def lost_seconds(record: TrainRecord) -> float:
    """Seconds of training that an attempt did and its successor had to do again."""
    return sum(attempt.lost_seconds for attempt in record.attempts)


def cost_rows(
    records: Sequence[TrainRecord], job_seconds: Mapping[str, float], plan: PlanFile | None
) -> list[dict[str, Any]]:
    """Hours planned, used and lost by model, and of all: {model, cells, attempts, planned, used, lost, ratio}.

    plan: the last one, None where there is none. planned is None where it knows not all cells; ratio is used by
    planned. Empty where the study trained nothing.
    """
    planned = {row.cell: row.planned_hours for row in plan.rows} if plan else {}
    groups: dict[str, list[TrainRecord]] = {}
    for record in records:
        groups.setdefault(record.model, []).append(record)
    rows = []
    for name, group in [*groups.items(), *([("all", list(records))] if len(groups) > 1 else [])]:
        hours = [planned.get(record.cell) for record in group]
        known = [hour for hour in hours if hour is not None]
        total = sum(known) if len(known) == len(hours) else None
        used = sum(device_hours(record, job_seconds[record.cell]) for record in group)
        rows.append(
            {
                "model": name,
                "cells": len(group),
                "attempts": sum(max(1, len(record.attempts)) for record in group),
                "planned": total,
                "used": used,
                "lost": sum(device_hours(record, lost_seconds(record)) for record in group),
                "ratio": used / total if total else None,
            }
        )
    return rows


def event_rows(records: Sequence[TrainRecord]) -> list[dict[str, Any]]:
    """Every instability that training met, as its record has it, with its cell."""
    return [{"cell": record.cell, **event} for record in records for event in record.events]


def sensitivity_rows(laws: Sequence[LawFile], methods: Mapping[str, str]) -> list[dict[str, Any]]:
    """Range of the exponent over all choices that a law file records, by target and source, beside the headline."""
    rows = []
    for law in laws:
        choices = pd.DataFrame([dict(row) for row in law.sensitivity])
        for fit in headline_fits(law, methods):
            own = choices[choices["source"] == fit.source] if len(choices) else choices
            if len(own):
                alphas = own["alpha"]
                rows.append(
                    {
                        "target": dataset_title(law.target),
                        "metric": metric_title(law.metric),
                        "file": law.place,
                        "source": source_title(fit.source),
                        "alpha": with_interval(fit.alpha, fit.alpha_low, fit.alpha_high)
                        if fit.is_law and fit.alpha is not None
                        else "",
                        "choices": len(own),
                        **{name: f"{value:.3f}" for name, value in
                           (("least", alphas.min()), ("median", alphas.median()), ("greatest", alphas.max()))},
                        "changes_sign": bool(alphas.min() < 0 < alphas.max()),
                    }
                )  # fmt: skip
    return rows


def comparison_rows(laws: Sequence[LawFile], methods: Mapping[str, str]) -> list[dict[str, Any]]:
    """Pairs of sources (or of training distributions) by target: difference of exponents, crossover, verdict in words.

    Where several methods compare a pair, the row is by the headline method of the first source.
    """
    rows = []
    for law in laws:
        chosen = {fit.source: fit.method for fit in headline_fits(law, methods)}
        for row in law.comparisons:
            if row.method != chosen.get(row.first):
                continue
            rows.append(
                {
                    "target": dataset_title(law.target),
                    "metric": metric_title(law.metric),
                    "file": law.place,
                    "pair": f"{source_title(row.first)} and {source_title(row.second)}",
                    "method": row.method,
                    "difference": with_interval(row.difference, row.difference_low, row.difference_high),
                    "crossover": row.crossover_gmacs,
                    "differs": row.significant,
                    "verdict": row.verdict,
                }
            )
    return rows


def left_out_rows(table: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Predicted and measured errors of left-out models by the chosen method, and whether its interval held.

    table: tables/leave_out.csv; None where nothing was left out.
    """
    rows = []
    for row in (table[table["chosen"]] if table is not None else pd.DataFrame()).to_dict("records"):
        low, high = row["predicted_error_low"], row["predicted_error_high"]
        rows.append(
            {
                "target": dataset_title(row["target"]),
                "metric": metric_title(row["metric"]),
                "file": law_place(row["target"], row["metric"]),
                "cell": row["cell"],
                "method": row["method"],
                "predicted": f"{row['predicted_error']:.3f} [{low:.3f}, {high:.3f}]",
                "measured": f"{row['error']:.3f}",
                "inside": bool(low <= row["error"] <= high),
            }
        )
    return rows


def unsupported(
    metrics: pd.DataFrame,
    laws: Sequence[LawFile],
    methods: Mapping[str, str],
    records: Sequence[TrainRecord],
) -> list[dict[str, Any]]:
    """What the data do not support, of the whole study and then by target: {about, says, file it is seen in}."""
    found = []
    several = metrics["source"].nunique() > 1
    rows = headlines(laws, methods)
    files = [law.place for law in laws for _ in headline_fits(law, methods)]
    for wanted in (False, True):
        for row, file in zip(rows, files, strict=True):
            if row["plain"] or row["law"] != wanted:
                continue
            name = f"{row['target']}, {row['metric']}" + (f" ({row['source']})" if several else "")
            verdict = row["verdict"]
            says = f"{verdict.reservation or verdict.kind}: {verdict.reason.split(': ')[-1]}"
            found.append({"about": name, "says": says, "file": file})
    for row in sensitivity_rows(laws, methods):
        if row["changes_sign"]:
            name = f"{row['target']}, {row['metric']}" + (f" ({row['source']})" if several else "")
            says = "the sign of the exponent depends on the choice of points, scale and estimator: "
            says += f"{row['least']} to {row['greatest']}"
            found.append({"about": name, "says": says, "file": row["file"]})
    return [
        row | {"says": re.sub(r"(?<!\w)-(?=\d)", "−", row["says"])}
        for row in [*_of_the_whole(metrics, laws, methods, records), *found]
    ]


def _of_the_whole(
    metrics: pd.DataFrame,
    laws: Sequence[LawFile],
    methods: Mapping[str, str],
    records: Sequence[TrainRecord],
) -> list[dict[str, Any]]:
    found = []
    fits = [fit for law in laws for fit in headline_fits(law, methods)]
    without, reserved = sum(not fit.is_law for fit in fits), sum(bool(fit.verdict.reservation) for fit in fits)
    if without or reserved:
        says = f"of {len(fits)} headline fits {without} are no law, and {reserved} are laws with a reservation; "
        says += "each is named below"
        found.append({"about": "Laws", "says": says, "file": "tables/laws.csv"})
    floors = [fit for law in laws for fit in law.fits if "floor" in fit.form]
    unbound = sum(fit.verdict.reservation == "not identifiable" for fit in floors)
    if unbound:
        says = f"not identifiable in {unbound} of {len(floors)} fits with a floor; no floor is printed for them"
        found.append({"about": "Irreducible error", "says": says, "file": "tables/laws.csv"})
    optima = [row for law in laws for row in law.allocation if row.gmacs is not None]
    beyond = sum(row.is_beyond for row in optima)
    if beyond:
        says = f"in {beyond} of {len(optima)} rows the optimum lies beyond the models or samples that were measured"
        found.append({"about": "Compute-optimal model and samples", "says": says, "file": "tables/allocation.csv"})
    missing = int(metrics["value"].isna().sum())
    if missing:
        says = f"{missing} values of the table are missing"
        found.append({"about": "Measurements", "says": says, "file": "tables/metrics.csv"})
    cells = cells_of(metrics)
    if records and cells["seed"].nunique() == 1:
        says = "each cell was trained with one seed, so the noise of training is not measured: a difference between "
        says += "two single cells may be nothing else"
        found.append({"about": "Noise", "says": says, "file": "tables/cells.csv"})
    diverged = [record.cell for record in records if record.state == "diverged"]
    if diverged:
        says = f"{len(diverged)} cells diverged and have no metrics: {', '.join(diverged)}"
        found.append({"about": "Cells", "says": says, "file": "tables/cells.csv"})
    return found
