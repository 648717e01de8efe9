"""Results of clip-benchmark and of models from elsewhere, as rows of the tidy table of metrics."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from ..errors import ConfigError, EvaluationError
from ..records.evaluation import METRICS_TABLE, OutsideMetrics
from ..study.config.evaluation import METRICS, probe_name
from ..study.grid import Cell
from .naming import checkpoint_names
from .released import parse_released

log = logging.getLogger(__name__)

TASKS = ("zeroshot_classification", "zeroshot_retrieval", "linear_probe")
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

    Each is clip-benchmark's record: dataset, model, pretrained, task, metrics, with the `file` that it stands in. Other
    JSON files of a folder are left out, and counted in the log. EvaluationError where a named file is none.
    """
    found: list[dict[str, Any]] = []
    for path in paths:
        if not path.is_dir():
            found += _read_file(path)
            continue
        files = sorted(path.glob("*.json"))
        if not files:
            raise EvaluationError(
                "no JSON file in this folder", place=str(path), remedy="Name clip-benchmark's results."
            )
        others = []
        for file in files:
            try:
                found += _read_file(file)
            except EvaluationError:
                others.append(file.name)
        if others:
            log.warning(f"{path}: {len(others)} files are no results of clip-benchmark: {_some(others)}")
    return found


def known_results(results: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep the results of tasks and metrics that this project knows; the others are counted and named in the log.

    EvaluationError where none is left.
    """
    kept: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for result in results:
        (kept if _is_known(result) else others).append(result)
    for task in dict.fromkeys(str(result["task"]) for result in others):
        files = [str(result.get("file", result["dataset"])) for result in others if str(result["task"]) == task]
        log.warning(f"{len(files)} results of task {task} are skipped: {_some(files)}")
    if not kept:
        tasks = ", ".join(dict.fromkeys(str(result["task"]) for result in others)) or "none"
        raise EvaluationError(
            f"no result of a task that this project knows (of {', '.join(TASKS)}); there is {tasks}",
            remedy="Name the results of another task.",
        )
    return kept


def name_runs(results: Sequence[dict[str, Any]]) -> list[str]:
    """Name the run of each result: two files of weights, or two models, never have one name."""
    pretrained = [str(result["pretrained"]) for result in results]
    names = checkpoint_names(dict.fromkeys(pretrained))
    cells = []
    for result, weights in zip(results, pretrained, strict=True):
        known, about = _run(result)
        plain = known != f"{about['model']}_{Path(weights).stem}"
        cells.append(known if plain else f"{about['model']}_{names[weights]}")
    return cells


def refuse_repeats(results: Sequence[dict[str, Any]], evaluations: Sequence[OutsideMetrics]) -> None:
    """EvaluationError where a metric of a run on a dataset is there twice, with both files."""
    seen: dict[tuple[str, str, str], Any] = {}
    for result, evaluation in zip(results, evaluations, strict=True):
        for row in evaluation.metrics:
            key = (evaluation.cell, row.dataset, row.metric)
            if key in seen:
                files = f"{seen[key]} and {result.get('file')}"
                raise EvaluationError(
                    f"{evaluation.cell}: {row.metric} on {row.dataset} is there twice, in {files}",
                    remedy="Keep one of them; runs differ by `pretrained`.",
                )
            seen[key] = result.get("file")


def evaluation_of(
    result: dict[str, Any],
    gmacs_of: Callable[[str], float],
    runs: dict[str, dict[str, Any]],
    name: str = "",
) -> OutsideMetrics:
    """Read one result of `read_results`. name: of its run, as `name_runs` tells runs apart; by default its own.

    gmacs_of: forward compute a sample of a model; ConfigError where it is not known. runs: what is known of a cell
    beside its name, by cell: samples_seen, data, unique_pairs, ... It overrides the name, whose numbers are nominal.
    """
    own, known = _run(result)
    cell = name or own
    known |= runs.get(cell, runs.get(own, {}))
    if known.get("gmacs_per_sample") is None:
        # The table's cell stays empty where a tower's count is not known.
        with suppress(ConfigError):
            known["gmacs_per_sample"] = gmacs_of(known["model"])
    rows = _metrics(result, cell)
    fields = {key: value for key, value in known.items() if key in OutsideMetrics.model_fields}
    return OutsideMetrics.parse(fields | {"cell": cell, "metrics": rows}, Path(cell))


def _metrics(result: dict[str, Any], cell: str) -> list[dict[str, Any]]:
    """Take the metrics of a result that this project knows. EvaluationError where there is none."""
    dataset = str(result["dataset"]).removeprefix("wds/") + _language(result)
    try:
        return _rows_of(result, dataset, cell)
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"{cell} on {dataset}: a metric is no number ({error})") from None


def _rows_of(result: dict[str, Any], dataset: str, cell: str) -> list[dict[str, Any]]:
    task, metrics = result["task"], result["metrics"]
    if task == "linear_probe":
        # Results of before it was written, and of its default, -1, are of all examples.
        shots = int(metrics.get("fewshot_k", result.get("fewshot_k", -1)))
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


def _is_known(result: dict[str, Any]) -> bool:
    task, metrics = result["task"], result["metrics"]
    names = [PROBED[name] for name in metrics if name in PROBED] if task == "linear_probe" else list(metrics)
    return task in TASKS and any(_is_metric(name) for name in names)


def _language(result: dict[str, Any]) -> str:
    """`-it` of an Italian translation; nothing of English, which is what a result without a language is of."""
    language = str(result.get("language") or "en")
    return "" if language in ("en", "nan") else f"-{language}"


def _some(names: Sequence[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


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


def _read_file(path: Path) -> list[dict[str, Any]]:
    rows = _read_csv(path) if path.suffix == ".csv" else [_read_json(path)]
    return [row | {"file": str(path)} for row in rows]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise EvaluationError(f"cannot be read as JSON ({error})", place=str(path)) from None
    if not isinstance(content, dict):
        raise EvaluationError("not a result of clip-benchmark: no JSON object", place=str(path))
    missing = [key for key in ("dataset", "model", "pretrained", "task", "metrics") if key not in content]
    if missing:
        raise EvaluationError(f"not a result of clip-benchmark: {', '.join(missing)} is missing", place=str(path))
    if not isinstance(content["metrics"], dict):
        raise EvaluationError("not a result of clip-benchmark: `metrics` is no JSON object", place=str(path))
    return dict(content)


def _read_csv(path: Path) -> list[dict[str, Any]]:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise EvaluationError(f"cannot be read as CSV ({error})", place=str(path)) from None
    about = ["dataset", "model", "pretrained", "task"]
    missing = [key for key in about if key not in table]
    if missing:
        raise EvaluationError(f"not a table of clip-benchmark: no column {', '.join(missing)}", place=str(path))
    records = table.to_dict("records")
    return [
        {key: row[key] for key in [*about, "language"] if key in row}
        | {"metrics": {str(key): value for key, value in row.items() if key not in about and value == value}}
        for row in records
    ]
