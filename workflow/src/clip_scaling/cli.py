"""The command `clip-scaling`: laws of a table of one's own."""

from __future__ import annotations

import argparse
from pathlib import Path

import pandas as pd

from .errors import LawError, run_script
from .laws.fits import Fit, fit_runs
from .laws.holdout import interval_held, mean_absolute_error, rolling_holdout
from .laws.methods import METHODS, find_method
from .laws.own_table import COLUMNS, PASSES, UNITS, tidy_table
from .laws.records import fit_record
from .laws.table import is_loss, select_runs
from .manifests import write_json


def main() -> None:
    """Entry point of the console command."""
    run_script(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="clip-scaling", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    _add_fit(commands.add_parser("fit", help="fit a scaling law to a CSV or Parquet table", description=fit.__doc__))
    args = parser.parse_args()
    args.run(args)


def _add_fit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("table", type=Path, help="CSV or Parquet, one row a run and target")
    parser.add_argument("--target", required=True, help="value of the column `dataset`; a name, where there is none")
    parser.add_argument(
        "--metric", default="acc1", help="value of `metric` (default acc1); a name in -loss is an error"
    )
    parser.add_argument(
        "--method", default="binned-min-5", help=f"{', '.join(METHODS)}; or points/form/scale/estimator"
    )
    parser.add_argument("--source", help="value of the column `source`, where the table has several")
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="OURS=YOURS",
        help=f"a column's name; ours: {', '.join(COLUMNS)}",
    )
    parser.add_argument("--compute-unit", choices=UNITS, default="GMAC", help="of compute (default GMAC)")
    parser.add_argument("--compute-passes", choices=PASSES, default="forward", help="counted (default forward)")
    parser.add_argument("--output", type=Path, help="also write the law as JSON")
    parser.set_defaults(run=fit)


def fit(args: argparse.Namespace) -> None:
    """Fit a law E = beta C^alpha (or another form) and say how far to trust it."""
    columns = dict(_pair(text) for text in args.column)
    table = tidy_table(
        _read(args.table), columns, args.target, args.metric, unit=args.compute_unit, passes=args.compute_passes
    )
    runs = select_runs(table, args.target, args.metric, args.source)
    method = find_method(args.method)
    law = fit_runs(runs, method)
    holdout = rolling_holdout(runs, method)
    print("\n".join(_lines(law, len(runs), holdout)))
    if args.output:
        write_json(args.output, {"target": law.target, "metric": law.metric, "fits": [fit_record(law, holdout)]})


def _lines(law: Fit, runs: int, holdout: pd.DataFrame) -> list[str]:
    lines = [f"{law.target} {law.metric}: {law.method.name} on {law.n_points} of {runs} points: {law.verdict}"]
    for name, value in law.parameters.items() if law.is_law else ():
        ends = law.intervals.get(name)
        lines.append(
            f"  {name} = {value:.4g}" + (f"  (95 %: {ends[0]:.4g} to {ends[1]:.4g}, {law.interval})" if ends else "")
        )
    if law.is_law and law.r2 is not None:
        lines.append(
            f"  R2 = {law.r2:.3f} over the points used; error a fraction (a loss in nats), compute in forward GMAC"
        )
    if len(holdout):
        lines.append(
            f"  hold-out: {_off(law, mean_absolute_error(holdout))} off on {len(holdout)} predictions up to "
            f"{holdout['beyond'].max():.0f} times beyond the fitted compute; "
            f"{interval_held(holdout):.0%} inside their 90 % interval"
        )
    return lines


def _off(law: Fit, error: float) -> str:
    return f"{error:.3g} nats" if is_loss(law.metric) else f"{100 * error:.2f} pp"


def _pair(text: str) -> tuple[str, str]:
    ours, equals, theirs = text.partition("=")
    if not equals:
        raise LawError(f"--column {text}: write OURS=YOURS, for example compute_gmacs=total_compute.")
    return ours, theirs


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise LawError(f"{path}: no such file.")
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise LawError(f"{path}: cannot be read as {path.suffix or 'CSV'} ({error}).") from None
