"""What the page says in numbers: grid, laws, cost, cells, recipes, versions. All are read from files, none are made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ..laws.optimal_rates import FOUND, optimal_rates
from ..records.filenames import law_place
from ..records.laws import LawFile
from ..records.training import TrainRecord
from .labels import dataset_title, gmacs_text, metric_title, short_count, source_title, supported, with_interval
from .views import cells_of, headline_fits


def grid_summary(metrics: pd.DataFrame) -> dict[str, Any]:
    """Axes of the grid and what was measured, by source: models, data, budgets, seeds, cells, sets and metrics."""
    cells = cells_of(metrics)
    return {
        "cells": len(cells),
        "models": list(cells.sort_values("gmacs_per_sample", kind="stable")["model"].unique()),
        "data": list(cells.sort_values("unique_pairs", kind="stable")["data"].unique()),
        "seeds": int(cells["seed"].nunique()),
        "samples": (cells["samples_seen"].min(), cells["samples_seen"].max()),
        "compute": (cells["compute_gmacs"].min(), cells["compute_gmacs"].max()),
        "samples_total": cells["samples_seen"].sum(),
        "compute_total": cells["compute_gmacs"].sum(),
        "sources": [source_title(source) for source in cells["source"].unique()],
        "datasets": int(metrics["dataset"].nunique()),
        "targets": len(metrics[["dataset", "metric"]].drop_duplicates()),
        "missing": int(metrics["value"].isna().sum()),
    }


def headlines(laws: Sequence[LawFile], methods: Mapping[str, str]) -> list[dict[str, Any]]:
    """One entry a target and source, in the study's order: the headline law, digits by its interval."""
    return [
        {
            "target": dataset_title(law.target),
            "metric": metric_title(law.metric),
            "file": law.place,
            "source": source_title(fit.source),
            "method": fit.method,
            "law": fit.is_law,
            "plain": fit.is_law and not fit.verdict.reservation,
            "exponent": supported(fit.alpha, fit.alpha_low, fit.alpha_high),
            "alpha": with_interval(fit.alpha, fit.alpha_low, fit.alpha_high),
            "beta": "" if fit.beta is None else f"{fit.beta:.3g}",
            "tenfold": None if fit.alpha is None else 10**fit.alpha,
            "n_points": fit.n_points,
            "verdict": fit.verdict,
        }
        for law in laws
        for fit in headline_fits(law, methods)
    ]


def law_rows(laws: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows of tables/laws.csv for the page: numbers as text, empty where the data support none."""
    rows = []
    for row in laws.to_dict("records"):
        known = {key: None if pd.isna(value) else value for key, value in row.items()}
        rows.append(
            {
                "target": dataset_title(row["target"]),
                "metric": metric_title(row["metric"]),
                "file": law_place(row["target"], row["metric"]),
                "source": source_title(row["source"]) if known["source"] else "",
                "method": row["method"],
                "form": known["form"] or "",
                "n_points": row["n_points"],
                "alpha": with_interval(known["alpha"], known["alpha_low"], known["alpha_high"]),
                **{key: "" if known[key] is None else f"{known[key]:.3g}" for key in ("beta", "floor")},
                "r2": "" if known["r2"] is None else f"{known['r2']:.2f}",
                "holdout_mae_pp": "" if known["holdout_mae_pp"] is None else f"{known['holdout_mae_pp']:.2f}",
                # The reason that a fit gives names its target; the row says that already.
                "verdict": row["verdict"].replace(f"{row['target']} {row['metric']} ({row['source']}): ", ""),
            }
        )
    return rows


def holdout_rows(methods: pd.DataFrame | None) -> list[dict[str, Any]]:
    """Rows of tables/methods.csv for the page: source, method, targets, error (pp), held, before, widened, chosen."""
    return [
        {
            "source": source_title(row["source"]),
            "method": row["method"],
            "targets": row["targets"],
            "error": "" if pd.isna(row["holdout_mae_pp"]) else f"{row['holdout_mae_pp']:.2f}",
            "held": f"{100 * row['intervals_held']:.0f} %",
            "before": f"{100 * row['intervals_held_before']:.0f} %",
            "widened": f"{row['interval_factor']:.2f}",
            "chosen": bool(row["chosen"]),
        }
        for row in (methods if methods is not None else pd.DataFrame()).to_dict("records")
    ]


def next_cell_rows(laws: Sequence[LawFile], listed: int = 8) -> dict[str, Any] | None:
    """What one more cell buys, for the first target and source that say so: {target, metric, method, now, rows}.

    rows: text and numbers of the first `listed` candidates, best first. None where no law file ranks any.
    """
    for law in laws:
        ranked = law.next_cells[:listed]
        if ranked:
            rows = [row for row in ranked if row.source == ranked[0].source]
            return {
                "target": dataset_title(law.target),
                "metric": metric_title(law.metric),
                "file": law.place,
                "method": ranked[0].method,
                "now": ranked[0].half_width_now,
                "rows": [
                    {
                        "model": row.model or "a larger model",
                        "data": row.data,
                        "gmacs": gmacs_text(row.gmacs_per_sample),
                        "samples": short_count(row.samples_seen),
                        "compute": row.compute_gmacs,
                        "then": row.half_width_then,
                        "shrinkage": row.shrinkage,
                    }
                    for row in rows
                ],
            }
    return None


def device_hours(record: TrainRecord, seconds: float) -> float:
    """Seconds of a cell's job as hours of cores on a CPU (x ranks x threads), of devices elsewhere (x ranks)."""
    kind = record.device.split(":")[0]
    return seconds * record.ranks * (record.threads if kind == "cpu" else 1) / 3600


def cost_summary(records: Sequence[TrainRecord], job_seconds: Mapping[str, float]) -> dict[str, Any] | None:
    """Hours, samples and compute of training, from records of cells; None where the study trained nothing.

    job_seconds: of each cell's whole job. Hours are counted by device as in `device_hours`.
    """
    if not records:
        return None
    hours: dict[str, float] = {}
    for record in records:
        kind = record.device.split(":")[0]
        hours[kind] = hours.get(kind, 0.0) + device_hours(record, job_seconds[record.cell])
    return {
        "cells": len(records),
        "hours": hours,
        "samples": sum(record.samples_seen for record in records),
        "compute": sum(record.compute_gmacs for record in records),
        "diverged": [record.cell for record in records if record.state == "diverged"],
        "longest_seconds": max(job_seconds[record.cell] for record in records),
    }


def cell_table(metrics: pd.DataFrame, records: Sequence[TrainRecord]) -> dict[str, Any]:
    """One row a cell, all metrics as columns: {columns, rows}.

    columns: (label, is a number), after the model's. rows: {model, values: (text, sort key) by column}.
    A value that is missing has an empty text and no sort key.
    """
    cells = cells_of(metrics)
    trained = {record.cell: record for record in records}
    targets = [tuple(pair) for pair in metrics[["dataset", "metric"]].drop_duplicates().to_numpy()]
    values = metrics.set_index(["source", "cell", "dataset", "metric"])["value"].dropna().to_dict()
    seeds = cells["seed"].nunique() > 1
    columns = [("data", False), ("samples seen", True), *([("seed", True)] if seeds else []), ("compute, GMAC", True)]
    columns += [(f"{dataset_title(dataset)} {metric_title(metric)}", True) for dataset, metric in targets]
    columns += [("epochs", True), ("GMAC per sample", True)]
    columns += [("training loss", True), ("minutes", True), ("samples/s", True)] if trained else []
    columns += [("cell", False)]
    rows = []
    for cell in cells.itertuples():
        record = trained.get(cell.cell)
        row = [(cell.data, cell.data), (f"{cell.samples_seen:,.0f}", cell.samples_seen)]
        row += [(f"{cell.seed}", cell.seed)] if seeds else []
        row += [(_large(cell.compute_gmacs), cell.compute_gmacs)]
        row += [_number(values.get((cell.source, cell.cell, *target)), ".3f") for target in targets]
        row += [_number(cell.samples_seen / cell.unique_pairs, ".3g"), _number(cell.gmacs_per_sample, ".3g")]
        if trained:
            row += [_number(record and record.final_loss, ".3f"), _number(record and record.seconds, ".1f", 1 / 60)]
            row += [_number(record and record.samples_per_second, ",.0f")]
        rows.append({"model": cell.model, "values": [*row, (cell.cell, cell.cell)]})
    return {"columns": columns, "rows": rows}


def recipe_tables(records: Sequence[TrainRecord]) -> dict[str, Any] | None:
    """Recipe fields that all cells share, and those that differ by (model, data, budget); None without training."""
    if not records:
        return None
    recipes = pd.json_normalize([record.recipe for record in records]).astype(object)
    varying = [name for name in recipes if recipes[name].map(repr).nunique() > 1]
    shared = {name: recipes[name].iloc[0] for name in recipes if name not in varying}
    about = pd.DataFrame(
        {
            "model": [record.model for record in records],
            "parameters": [f"{record.parameters:,}" for record in records],
            "GMAC per sample": [f"{record.gmacs_per_sample:.3g}" for record in records],
        }
    )
    table = pd.concat([about, recipes[varying].map(_plain)], axis=1).drop_duplicates()
    return {
        "shared": {name: _plain(value) for name, value in sorted(shared.items())},
        "columns": list(table.columns),
        "rows": table.to_numpy().tolist(),
    }


def learning_rate_table(sweep: pd.DataFrame | None) -> dict[str, Any] | None:
    """The learning-rate search as models x rates of the final training loss; None where there was none."""
    if sweep is None:
        return None
    rates = sorted(sweep["learning_rate"].unique())
    optima = optimal_rates(sweep).set_index("model")
    rows = []
    for model, tried in sweep.groupby("model", sort=False):
        by_rate = tried.set_index("learning_rate")
        rows.append(
            {
                "model": model,
                "cells": [
                    (f"{by_rate.loc[rate, 'final_loss']:.3f}", bool(by_rate.loc[rate, "chosen"]))
                    if rate in by_rate.index
                    else ("", False)
                    for rate in rates
                ],
                "optimum": _optimum_text(optima.loc[model].to_dict()),
            }
        )
    first = sweep.iloc[0]
    where = f"{first['data']}, {short_count(first['samples_seen'])} samples, batch {first['global_batch_size']}"
    return {"rates": [f"{rate:g}" for rate in rates], "rows": rows, "where": where}


def _optimum_text(found: Mapping[str, Any]) -> str:
    """The optimal rate, with its interval where there is one, or why there is none."""
    if found["verdict"] != FOUND:
        return str(found["verdict"])
    has_ends = pd.notna(found["low"])
    return f"{found['learning_rate']:.2g}" + (f" ({found['low']:.2g} to {found['high']:.2g})" if has_ends else "")


def provenance_rows(records: Sequence[TrainRecord]) -> list[tuple[str, str]]:
    """Distinct commits, versions, machines and the span of times that the cells were made by and in."""
    if not records:
        return []
    sources = [record.provenance for record in records]
    edited = {True: " with uncommitted changes", False: "", None: ", changes not known"}
    commits = [f"{about.commit or 'no checkout'}{edited[about.uncommitted_changes]}" for about in sources]
    names = sorted({name for about in sources for name in about.versions})
    finished = sorted(about.finished_utc for about in sources)
    return [
        ("code", _distinct(commits)),
        *((name, _distinct(about.versions.get(name, "absent") for about in sources)) for name in names),
        ("platform", _distinct(about.platform for about in sources)),
        (
            "devices",
            _distinct(f"{record.device}, ranks: {record.ranks}, threads: {record.threads}" for record in records),
        ),
        ("trained (UTC)", f"{finished[0]} to {finished[-1]}"),
    ]


def _distinct(texts: Iterable[str]) -> str:
    return "; ".join(sorted(set(texts)))


def _number(value: Any, form: str, factor: float = 1.0) -> tuple[str, float | None]:
    return ("", None) if value is None else (format(value * factor, form), value * factor)


def _large(value: float) -> str:
    """Whole below ten million, else three digits and the exponent: `23,340`, `1.89e10`."""
    return f"{value:,.0f}" if value < 1e7 else f"{value:.3g}".replace("e+", "e")


def _plain(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
