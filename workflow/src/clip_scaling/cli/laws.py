"""The commands on a table of one's own: `clip-scaling fit | compare | allocate | next`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import LawError
from ..laws.compare import compare as compare_laws
from ..laws.fits import Fit, fit_runs
from ..laws.holdout import interval_held, mean_absolute_error, rolling_holdout
from ..laws.law_file import fit_record
from ..laws.methods import METHODS, find_method
from ..laws.own_table import COLUMNS, PASSES, UNITS, tidy_table
from ..laws.planning import allocation, ranked_cells
from ..laws.table import Runs, select_runs
from ..records.files import atomic_path, write_json
from ..records.laws import Comparison, LawFile
from ..records.metrics import is_loss
from ..study.counts import parse_count

Parsers = Any  # argparse keeps the type of its subparsers to itself.


def add_commands(commands: Parsers) -> None:
    """Add the four commands to a parser's subcommands."""
    parser = _command(commands, fit, "fit a scaling law to a CSV or Parquet table")
    _add_method(parser, "binned-min-5")
    parser.add_argument("--source", help="value of the column `source`, where the table has several")
    parser.add_argument("--output", type=Path, help="also write the law as JSON")

    parser = _command(commands, compare, "compare the laws of two sources")
    _add_method(parser, "ols-all")
    parser.add_argument("--sources", nargs=2, required=True, metavar="SOURCE", help="values of the column `source`")
    parser.add_argument("--at", type=float, nargs="*", default=[], metavar="GMAC", help="compute to compare errors at")
    parser.add_argument("--output", type=Path, help="also write the comparison as JSON")

    parser = _command(commands, allocate, "compute-optimal model size and samples seen")
    parser.add_argument("--method", help="form in model and samples: additive, chinchilla, data-constrained, ...")
    parser.add_argument("--source", help="value of the column `source`, where the table has several")
    parser.add_argument(
        "--budget", type=float, nargs="+", metavar="COMPUTE", help="in --compute-unit; default: a range"
    )
    parser.add_argument("--unique", type=parse_count, help="unique pairs at hand; default: the most of the table")
    parser.add_argument("--output", type=Path, help="also write the rows as CSV")

    parser = _command(commands, rank_next, "what one more cell would buy", name="next")
    parser.add_argument("--method", help="law of all points; default: loglinear, or ols-all where that cannot be told")
    parser.add_argument("--source", help="value of the column `source`, where the table has several")
    wanted = parser.add_mutually_exclusive_group()
    wanted.add_argument("--parameter", default="alpha", help="exponent whose interval is to shrink (default alpha)")
    wanted.add_argument(
        "--prediction", nargs="+", metavar="FACTOR=VALUE", help="or a prediction's: compute=, gmacs=, samples=, unique="
    )
    parser.add_argument("--candidates", type=Path, help="CSV: gmacs_per_sample, samples_seen, unique_pairs (, model)")
    parser.add_argument("--rows", type=int, default=10, help="how many to print")
    parser.add_argument("--output", type=Path, help="also write all rows as CSV")


def fit(args: argparse.Namespace) -> None:
    """Fit a law E = beta C^alpha (or another form) and say how far to trust it."""
    runs, method = _runs(args, args.source), find_method(args.method)
    law = fit_runs(runs, method)
    holdout = rolling_holdout(runs, method)
    print("\n".join(_lines(law, len(runs), holdout)))
    if args.output:
        LawFile(target=law.target, metric=law.metric, fits=[fit_record(law, holdout)]).write(args.output)


def compare(args: argparse.Namespace) -> None:
    """Compare two sources on the same target: exponents, which is better at a compute, where they cross."""
    table, method = _table(args), find_method(args.method)
    first, second = (fit_runs(_select(table, args, source), method) for source in args.sources)
    found = compare_laws(first, second, args.at, recipes=table)
    print("\n".join(_comparison_lines(found)))
    if args.output:
        write_json(args.output, found.model_dump(mode="json"))


def allocate(args: argparse.Namespace) -> None:
    """The model size and samples seen of least error at a compute budget, by a parametric form and by isoFLOP
    parabolas, with 95 % intervals."""
    unit = UNITS[args.compute_unit] * PASSES[args.compute_passes]
    budgets = [unit * value for value in args.budget] if args.budget else None
    method = find_method(args.method) if args.method else None
    rows = allocation(_runs(args, args.source), budgets, method, args.unique)
    for row in rows.to_dict("records"):
        print(f"{row['method']} at {row['compute_gmacs']:.3g} GMAC: {row['verdict']}")
        if np.isfinite(row["gmacs"]):
            print(f"  {_with_ends(row, 'gmacs')} GMAC a sample x {_with_ends(row, 'samples')} samples seen, "
                  f"error {row['error']:.3g}")  # fmt: skip
    _write(rows, args.output)


def rank_next(args: argparse.Namespace) -> None:
    """Rank candidate cells by how much each narrows the interval of an exponent, or of a prediction, per compute."""
    runs = _runs(args, args.source)
    candidates = _read(args.candidates) if args.candidates else None
    method = find_method(args.method) if args.method else None
    at = {name: float(value) for name, value in map(_pair, args.prediction)} if args.prediction else None
    rows = ranked_cells(runs, candidates, method, None if at else args.parameter, at)
    what = "the prediction, ln E" if at else args.parameter
    now, by = rows["half_width_now"].iloc[0], rows["method"].iloc[0]
    print(f"half-width of the 95 % interval of {what}: {now:.3g} now ({by})")
    for row in rows.head(args.rows).to_dict("records"):
        print(
            f"  {row.get('model') or 'model'} of {row['gmacs_per_sample']:.4g} GMAC, {row['samples_seen']:.3g} samples "
            f"of {row.get('unique_pairs', np.nan):.3g} pairs: {row['half_width_then']:.3g}, "
            f"{row['shrinkage']:.1%} less for {row['compute_gmacs']:.3g} GMAC"
        )
    _write(rows, args.output)


def _command(commands: Parsers, run: Any, text: str, name: str = "") -> argparse.ArgumentParser:
    parser = commands.add_parser(name or run.__name__, help=text, description=run.__doc__)
    parser.add_argument("table", type=Path, help="CSV or Parquet, one row a run and target")
    parser.add_argument("--target", required=True, help="value of the column `dataset`; a name, where there is none")
    parser.add_argument(
        "--metric", default="acc1", help="value of `metric` (default acc1); a name that ends in loss is itself an error"
    )
    parser.add_argument(
        "--column",
        action="append",
        default=[],
        metavar="OURS=YOURS",
        help=f"a column's name; ours: {', '.join(COLUMNS)}",
    )
    parser.add_argument("--compute-unit", choices=UNITS, default="GMAC", help="of compute (default GMAC)")
    parser.add_argument("--compute-passes", choices=PASSES, default="forward", help="counted (default forward)")
    parser.add_argument(
        "--drop-saturated",
        action="store_true",
        help="leave out runs with an error of exactly 0 or 1, which are refused",
    )
    parser.set_defaults(run=run)
    return parser


def _add_method(parser: argparse.ArgumentParser, default: str) -> None:
    names = f"{', '.join(METHODS)}; or points/form/scale/estimator"
    parser.add_argument("--method", default=default, help=f"{names} (default {default})")


def _table(args: argparse.Namespace) -> pd.DataFrame:
    columns = dict(_pair(text, "--column ") for text in args.column)
    unit, passes = args.compute_unit, args.compute_passes
    return tidy_table(_read(args.table), columns, args.target, args.metric, unit=unit, passes=passes)


def _runs(args: argparse.Namespace, source: str | None) -> Runs:
    return _select(_table(args), args, source)


def _select(table: pd.DataFrame, args: argparse.Namespace, source: str | None) -> Runs:
    return select_runs(table, args.target, args.metric, source, drop_saturated=args.drop_saturated)


def _lines(law: Fit, runs: int, holdout: pd.DataFrame) -> list[str]:
    lines = [f"{law.target} {law.metric}: {law.method.name} on {law.n_points} of {runs} points: {law.verdict}"]
    left_out = {"saturated": law.n_saturated, "diverged": law.n_diverged}
    lines += [f"  {count} {kind} runs are left out" for kind, count in left_out.items() if count]
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
        off = mean_absolute_error(holdout)
        lines.append(
            f"  hold-out: {f'{off:.3g} nats' if is_loss(law.metric) else f'{100 * off:.2f} pp'} off on {len(holdout)} "
            f"predictions up to {holdout['beyond'].max():.0f} times beyond the fitted compute; "
            f"{interval_held(holdout):.0%} inside their 90 % interval"
        )
    return lines


def _comparison_lines(found: Comparison) -> list[str]:
    lines = [f"{found.first} and {found.second} by {found.method}: {found.verdict}"]
    lines.append(
        f"  difference of exponents {found.difference:+.4f}  "
        f"(95 %: {found.difference_low:+.4f} to {found.difference_high:+.4f})"
    )
    if found.crossover_gmacs is not None:
        low, high = (f"{end:.3g}" if end else "open" for end in (found.crossover_low, found.crossover_high))
        lines.append(f"  equal at {found.crossover_gmacs:.3g} GMAC  (95 %: {low} to {high})")
    for row in found.better:
        ends = f"{row.ratio_low:.3g} to {row.ratio_high:.3g}"
        lines.append(
            f"  at {row.compute_gmacs:.3g} GMAC: error ratio {row.ratio:.3g}  (95 %: {ends}), "
            + (f"{row.better} is better" if row.better else "no significant difference")
        )
    return lines


def _with_ends(row: dict[Any, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3g} ({low:.3g} to {high:.3g})" if np.isfinite(low) else f"{row[name]:.3g} (no interval)"


def _write(rows: pd.DataFrame, path: Path | None) -> None:
    if path:
        with atomic_path(path) as temporary:
            rows.to_csv(temporary, index=False)


def _pair(text: str, option: str = "") -> tuple[str, str]:
    ours, equals, theirs = text.partition("=")
    if not equals:
        wanted = "OURS=YOURS, for example compute_gmacs=flops" if option else "FACTOR=VALUE, for example compute=1e12"
        raise LawError(f"{option}{text}: write {wanted}.")
    return ours, theirs


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise LawError(f"{path}: no such file.")
    try:
        return pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:
        raise LawError(f"{path}: cannot be read as {path.suffix or 'CSV'} ({error}).") from None
