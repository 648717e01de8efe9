"""Results of clip-benchmark and of models from elsewhere, as rows of the tidy table of metrics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ConfigError, EvaluationError
from ..records.evaluation import METRICS_TABLE, OutsideMetrics
from ..study.config.evaluation import METRICS, probe_name
from ..study.grid import Cell
from .released import parse_released

PROBED = {"lp_acc1": "acc1", "lp_acc5": "acc5", "lp_mean_per_class_recall": "mean_per_class_recall"}


def tidy_evaluations(evaluations: Iterable[OutsideMetrics], source: str) -> pd.DataFrame:
    """Lay evaluations out as the tidy table of metrics.

    What is not known stays empty: compute without samples seen, an interval without the number of images.
    """
    rows = []
    for evaluation in evaluations:
        about = {key: getattr(evaluation, key) for key in METRICS_TABLE.names[:8]}
        gmacs, samples = evaluation.gmacs_per_sample, evaluation.samples_seen
        if evaluation.compute_gmacs is None and gmacs is not None and samples is not None:
            about["compute_gmacs"] = gmacs * samples
        rows += [about | row.model_dump() | {"source": source} for row in evaluation.metrics]
    return pd.DataFrame(rows, columns=METRICS_TABLE.names)


def read_results(paths: Iterable[Path]) -> list[dict[str, Any]]:
    """Read every result in JSON files, folders of them, or CSV files as `clip_benchmark build` writes.

    Each is clip-benchmark's record: dataset, model, pretrained, task, metrics. EvaluationError where a file is none.
    """
    found: list[dict[str, Any]] = []
    for path in paths:
        files = sorted(path.glob("*.json")) if path.is_dir() else [path]
        if not files:
            raise EvaluationError(
                "no JSON file in this folder", place=str(path), remedy="Name clip-benchmark's results."
            )
        for file in files:
            found += _read_csv(file) if file.suffix == ".csv" else [_read_json(file)]
    return found


def evaluation_of(
    result: dict[str, Any], gmacs_of: Callable[[str], float], runs: dict[str, dict[str, Any]]
) -> OutsideMetrics:
    """Read one result of `read_results`.

    gmacs_of: forward compute a sample of a model; ConfigError where it is not known. runs: what is known of a cell
    beside its name, by cell: samples_seen, data, unique_pairs, ... It overrides the name, whose numbers are nominal.
    """
    cell, known = _run(result)
    known |= runs.get(cell, {})
    if known.get("gmacs_per_sample") is None:
        # The table's cell stays empty where a tower's count is not known.
        with suppress(ConfigError):
            known["gmacs_per_sample"] = gmacs_of(known["model"])
    rows = _metrics(result, cell)
    fields = {key: value for key, value in known.items() if key in OutsideMetrics.model_fields}
    return OutsideMetrics.parse(fields | {"cell": cell, "metrics": rows}, Path(cell))


def _metrics(result: dict[str, Any], cell: str) -> list[dict[str, Any]]:
    """Take the metrics of a result that this project knows. EvaluationError where there is none."""
    dataset = str(result["dataset"]).removeprefix("wds/")
    task, metrics = result["task"], result["metrics"]
    if task == "linear_probe":
        shots = int(metrics["fewshot_k"])
        dataset = probe_name(dataset, shots if shots > 0 else "full")
        metrics = {name: metrics[theirs] for theirs, name in PROBED.items() if theirs in metrics}
    elif "mean_average_precision" in metrics:
        task = "zeroshot_multilabel"
    about = {"dataset": dataset, "task": task, "ci_low": None, "ci_high": None, "n": None}
    rows = [
        about | {"metric": name, "value": float(value)}
        for name, value in metrics.items()
        # acc5 of fewer than five classes is not a number.
        if _is_metric(name) and value is not None and value == value
    ]
    if not rows:
        raise EvaluationError(f"{cell} on {dataset}: no metric that this project knows ({', '.join(metrics)}).")
    return rows


def _run(result: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Find (cell, what its name says): a released model's file, a cell's folder, else `model pretrained`."""
    pretrained, model = str(result["pretrained"]), str(result["model"])
    name = Path(pretrained).stem
    try:
        run = parse_released(name)
        return name, {"model": run.model, "data": run.data, "samples_seen": run.samples_seen}
    except EvaluationError:
        pass
    for part in (name, *Path(pretrained).parts[::-1]):
        try:
            cell = Cell.parse(part)
        except ValueError:
            continue
        return part, {"model": cell.model, "data": cell.data, "samples_seen": cell.samples_seen, "seed": cell.seed}
    return f"{model}_{name}", {"model": model}


def _is_metric(name: str) -> bool:
    known = {metric for metrics in METRICS.values() for metric in metrics}
    return name in known or re.fullmatch(r"(image|text)_retrieval_recall@[0-9]+", name) is not None


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise EvaluationError(f"cannot be read as JSON ({error})", place=str(path)) from None
    missing = [key for key in ("dataset", "model", "pretrained", "task", "metrics") if key not in content]
    if missing:
        raise EvaluationError(f"not a result of clip-benchmark: {', '.join(missing)} is missing", place=str(path))
    return dict(content)


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        table = pd.read_csv(path)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise EvaluationError(f"cannot be read as CSV ({error})", place=str(path)) from None
    about = ["dataset", "model", "pretrained", "task"]
    missing = [key for key in about if key not in table]
    if missing:
        raise EvaluationError(f"not a table of clip-benchmark: no column {', '.join(missing)}", place=str(path))
    records = table.to_dict("records")
    return [
        {key: row[key] for key in about}
        | {"metrics": {str(key): value for key, value in row.items() if key not in about and value == value}}
        for row in records
    ]
