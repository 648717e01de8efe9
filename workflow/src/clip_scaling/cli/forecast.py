"""`clip-scaling forecast` freezes predictions of runs that are to come; `clip-scaling judge` scores them afterwards."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import LawError
from ..laws.forecast import FACTORS, Judgement, forecast_cells, judge, replay
from ..laws.methods import find_method
from ..laws.own_table.file import read_table
from ..laws.own_table.tidy import loss_name
from ..laws.own_table.units import PASSES, UNITS
from ..laws.runs import Runs, select_runs
from ..records.filenames import TRAINED
from ..records.files import atomic_path
from ..records.forecast import Forecast
from ..records.metrics import is_loss
from ..records.training import TrainRecord
from .table_options import add_table_options, check_output, compute_unit, own_candidates, own_table


def add_commands(commands: Any) -> None:
    """Add the two commands to a parser's subcommands."""
    parser = commands.add_parser("forecast", help="freeze predictions of runs to come", description=freeze.__doc__)
    add_table_options(parser)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--candidates", type=Path, help="CSV of the runs to come: gmacs_per_sample, samples_seen (, cell, model, ...)"
    )
    which.add_argument("--without", nargs="+", metavar="MODEL", help="replay: predict the runs of these models")
    which.add_argument("--beyond", type=float, metavar="COMPUTE", help="replay: predict the runs above this compute")
    parser.add_argument("--method", help="default: the one that the hold-out chooses")
    parser.add_argument("--source", help="value of the column `source`, where the table has several")
    parser.add_argument("--output", type=Path, required=True, help="the forecast, JSON; nothing is overwritten")
    parser.set_defaults(run=freeze)

    parser = commands.add_parser("judge", help="score a forecast by the runs made since", description=score.__doc__)
    add_table_options(parser, target=False)
    parser.add_argument("--forecast", type=Path, required=True, help="as `clip-scaling forecast` wrote it")
    ended = parser.add_mutually_exclusive_group()
    ended.add_argument("--finished", metavar="YOURS", help="column of the time that a run ended: seconds, or ISO 8601")
    ended.add_argument("--train", type=Path, metavar="FOLDER", help="results/STUDY/train: when each cell ended")
    parser.add_argument("--output", type=Path, help="also write the rows as CSV")
    parser.set_defaults(run=score)


def freeze(args: argparse.Namespace) -> None:
    """Freeze predictions, with 90 % intervals, of runs that are not made yet: points, fit, code, time and a sha256
    over it all. Commit or publish the file before the runs."""
    check_output(args.output)
    if args.output.exists():
        raise LawError(f"--output {args.output}: it is there already", remedy="A forecast stays: name another file.")
    runs = _runs(args, args.source)
    method = find_method(args.method) if args.method else None
    cells = own_candidates(args)
    found = forecast_cells(runs, cells, method) if cells is not None else replay(runs, _later(args, runs), method)
    found.write(args.output)
    method_text = f"{found.method}, as the hold-out chose" if found.is_chosen_by_holdout else found.method
    print(f"{found.kind} of {len(found.cells)} runs from {len(found.points)} by {method_text}: {found.verdict}")
    for cell in found.cells:
        named = cell.cell or " ".join(filter(None, [cell.model, f"of {cell.compute_gmacs:.3g} GMAC"]))
        print(f"  {named}: {_value(found.metric, cell.error)} ({_ends(found.metric, cell.low, cell.high)})")
    print(f"sha256 {found.sha256}")


def score(args: argparse.Namespace) -> None:
    """Compare a forecast with the runs made since: hits of its 90 % intervals, distances, interval scores. A forecast
    that was altered, or whose runs had been made before it, is refused."""
    check_output(args.output)
    if not args.forecast.is_file():
        raise LawError(f"--forecast {args.forecast}: no such file", remedy="`clip-scaling forecast` writes one.")
    forecast = Forecast.read(args.forecast)
    args.target, args.metric = forecast.target, forecast.metric
    runs = _runs(args, forecast.source or None)
    result = judge(forecast, runs, _finished(args, runs))
    print("\n".join(_lines(forecast, result)))
    if args.output:
        with atomic_path(args.output) as temporary:
            result.rows.to_csv(temporary, index=False)


def _runs(args: argparse.Namespace, source: str | None) -> Runs:
    """The runs of the table; without a column of names they are named by what they are: rows may move."""
    table = own_table(args, [source or ""])
    if not table.attrs["has_names"]:
        table["cell"] = _descriptions(table)
    metric = loss_name(args.metric, args.loss)
    return select_runs(table, args.target, metric, source, drop_saturated=args.drop_saturated)


def _descriptions(table: pd.DataFrame) -> list[str]:
    """Model, data, seed, size, samples and pairs of each row, as far as the table has them, else its compute."""
    names = [name for name in ("model", "data", "seed", *FACTORS.values()) if name in table] or ["compute_gmacs"]
    rows = table[names].itertuples(index=False)
    return [" ".join(f"{value:.8g}" if isinstance(value, float) else str(value) for value in row) for row in rows]


def _later(args: argparse.Namespace, runs: Runs) -> np.ndarray:
    """Mask of the runs that a replay predicts."""
    if args.without:
        unknown = [name for name in args.without if name not in set(runs.model.astype(str))]
        if unknown:
            known = ", ".join(sorted(set(runs.model.astype(str)) - {""})) or "the table has no column `model`"
            raise LawError(f"--without {' '.join(unknown)}: not in the table", remedy=f"Models: {known}.")
        return np.isin(runs.model.astype(str), args.without)
    unit, passes = compute_unit(args)
    return runs.compute > UNITS[unit] * PASSES[passes] * args.beyond


def _finished(args: argparse.Namespace, runs: Runs) -> dict[str, datetime]:
    """When runs ended, by cell, as far as it is known."""
    if args.train:
        places = {cell: args.train / cell / TRAINED for cell in runs.cell.astype(str)}
        records = {cell: TrainRecord.read(path) for cell, path in places.items() if path.is_file()}
        return {cell: datetime.fromtimestamp(record.finished, UTC) for cell, record in records.items()}
    if not args.finished:
        return {}
    table = read_table(args.table)
    names = dict(text.partition("=")[::2] for text in args.column)
    cell = names.get("cell", "cell")
    for column in (args.finished, cell):
        if column not in table:
            raise LawError(f"--finished: the table has no column {column!r}. It has {', '.join(map(str, table))}.")
    return {str(name): _time(text, args.finished) for name, text in zip(table[cell], table[args.finished], strict=True)}


def _time(text: Any, column: str) -> datetime:
    try:
        seconds = pd.to_numeric(text, errors="coerce")
        if np.isfinite(seconds):
            return datetime.fromtimestamp(float(seconds), UTC)
        found = datetime.fromisoformat(str(text).strip())
    except (ValueError, OverflowError, OSError):
        raise LawError(f"--finished {column}: {text!r} is no time", remedy="Give ISO 8601, or seconds.") from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _lines(forecast: Forecast, result: Judgement) -> list[str]:
    metric, rows = forecast.metric, result.rows
    lines = [f"{forecast.kind} of {forecast.made} for {forecast.target} {metric} by {forecast.method}"]
    for row in rows.to_dict("records"):
        ends = _ends(metric, row["low"], row["high"])
        hit = "hit" if row["is_hit"] else "miss"
        predicted, actual = (_value(metric, row[name]) for name in ("predicted", "actual"))
        lines.append(f"  {row['cell']}: {predicted} ({ends}) predicted, {actual} measured: {hit}")
    if result.n_open:
        lines.append(f"  {result.n_open} of {len(forecast.cells)} runs are open")
    if len(rows):
        unit, by = ("nats", 1.0) if is_loss(metric) else ("points", 100.0)
        few = f" (of right intervals, so few with a probability of {result.chance:.2g})"
        lines.append(
            f"{result.hits} of {len(rows)} inside their 90 % interval{few if result.hits < len(rows) else ''}; "
            f"{by * result.mean_error:.3g} {unit} off; interval score {by * result.mean_score:.3g} {unit}"
        )
    if result.moved:
        lines.append(
            f"{len(result.moved)} of the {len(forecast.points)} points it was made from are not in the table as they "
            f"were: {', '.join(result.moved[:3])}"
        )
    return lines


def _value(metric: str, error: float) -> str:
    """An error in the metric's own sense."""
    return f"{error:.4f}" if is_loss(metric) else f"{1 - error:.4f}"


def _ends(metric: str, low: float, high: float) -> str:
    ends = (low, high) if is_loss(metric) else (high, low)
    return " to ".join(_value(metric, end) for end in ends)
