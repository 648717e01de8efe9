"""The commands on a user's own table: `clip-scaling fit | compare | allocate | next`."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import LawError
from ..laws.choice import best_by_holdout
from ..laws.compare import compare as compare_laws
from ..laws.fits import Fit, fit_runs
from ..laws.holdout import interval_held, mean_absolute_error, rolling_holdout
from ..laws.law_file import fit_record
from ..laws.methods import METHODS, find_method
from ..laws.own_table.tidy import loss_name
from ..laws.own_table.units import PASSES, UNITS
from ..laws.planning import allocation_of_table, ranked_cells
from ..laws.points import BINS
from ..laws.runs import Runs, select_runs
from ..laws.verdicts import after_holdout
from ..records.files import atomic_path, write_json
from ..records.laws import Comparison, LawFile
from ..records.metrics import is_loss
from ..study.counts import parse_count
from .table_options import add_table_options, check_output, compute_unit, own_candidates, own_table, pair

Parsers = Any  # argparse keeps the type of its subparsers to itself.
DEFAULT = "binned-min-5"
FACTORS = ("compute", "gmacs", "samples", "unique")


def add_commands(commands: Parsers) -> None:
    """Add the four commands to a parser's subcommands."""
    parser = _command(commands, fit, "fit a scaling law to a CSV or Parquet table")
    _add_method(parser, "")
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
    parser.add_argument("--method", help="law of all points; default: loglinear, else ols-all")
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
    check_output(args.output)
    runs, method = _runs(args, args.source), find_method(args.method or DEFAULT)
    law = fit_runs(runs, method)
    holdout = rolling_holdout(runs, method)
    missed = np.log(holdout["predicted"] / holdout["actual"]).to_numpy() if len(holdout) else np.empty(0)
    law = replace(law, verdict=after_holdout(law.verdict, interval_held(holdout), missed))
    print("\n".join(_lines(law, len(runs), holdout)))
    if args.parameters and law.is_law and {"beta_gmacs", "beta_samples"} <= law.parameters.keys():
        print(_in_parameters(law))
    if not args.method:
        print("\n".join(_choice_lines(runs, law, holdout)))
    if args.output:
        LawFile(target=law.target, metric=law.metric, fits=[fit_record(law, holdout)]).write(args.output)


def compare(args: argparse.Namespace) -> None:
    """Compare two sources on the same target: exponents, which is better at a compute, where they cross."""
    check_output(args.output)
    table, method = own_table(args, args.sources), find_method(args.method)
    first, second = (fit_runs(_select(table, args, source), method) for source in args.sources)
    found = compare_laws(first, second, args.at, recipes=table)
    print("\n".join(_comparison_lines(found)))
    if args.output:
        write_json(args.output, found.model_dump(mode="json"))


def allocate(args: argparse.Namespace) -> None:
    """The model size and samples seen of least error at a compute budget, by a parametric form and by isoFLOP
    parabolas, with 95 % intervals."""
    check_output(args.output)
    unit, passes = compute_unit(args)
    for budget in args.budget or ():
        if not (np.isfinite(budget) and budget > 0):
            raise LawError(f"--budget {budget:g}: a budget must be positive.")
    budgets = [UNITS[unit] * PASSES[passes] * value for value in args.budget] if args.budget else None
    method = find_method(args.method) if args.method else None
    rows, notes = allocation_of_table(_runs(args, args.source), budgets, method, args.unique)
    for row in rows.to_dict("records"):
        print(f"{row['method']} at {row['compute_gmacs']:.3g} GMAC: {row['verdict']}")
        if np.isfinite(row["gmacs"]):
            print(f"  {_optimum(row, bool(args.parameters))}, error {row['error']:.3g}")
    for note in notes:
        print(note)
    _write(rows, args.output)


def rank_next(args: argparse.Namespace) -> None:
    """Rank candidate cells by how much each narrows the interval of an exponent, or of a prediction, per compute."""
    check_output(args.output)
    if args.rows < 1:
        raise LawError(f"--rows {args.rows}: at least one row is needed.")
    runs = _runs(args, args.source)
    candidates = own_candidates(args)
    method = find_method(args.method) if args.method else None
    at = _place(args.prediction) if args.prediction else None
    rows = ranked_cells(runs, candidates, method, None if at else args.parameter, at)
    what = "the prediction, ln E" if at else args.parameter
    now, by = rows["half_width_now"].iloc[0], rows["method"].iloc[0]
    print(f"half-width of the 95 % interval of {what}: {now:.3g} now ({by})")
    for row in rows.head(args.rows).to_dict("records"):
        pairs = row.get("unique_pairs", np.nan)
        print(
            f"  {row.get('model') or 'model'} of {row['gmacs_per_sample']:.4g} GMAC, {row['samples_seen']:.3g} samples"
            f"{f' of {pairs:.3g} pairs' if np.isfinite(pairs) else ''}: {row['half_width_then']:.3g}, "
            f"{row['shrinkage']:.1%} less for {row['compute_gmacs']:.3g} GMAC"
        )
    _write(rows, args.output)


def _place(texts: list[str]) -> dict[str, float]:
    """The factors of a prediction; compute is model size x samples where these are given alone."""
    at = {}
    for name, text in map(pair, texts):
        if name not in FACTORS:
            raise LawError(f"--prediction {name}={text}: {name!r} is none of {', '.join(FACTORS)}.")
        try:
            at[name] = float(text)
        except ValueError:
            try:
                at[name] = float(parse_count(text))
            except ValueError as error:
                raise LawError(f"--prediction {name}={text}: {error}.") from None
        if not (np.isfinite(at[name]) and at[name] > 0):
            raise LawError(f"--prediction {name}={text}: a positive number is needed.")
    if {"gmacs", "samples"} <= at.keys():
        at.setdefault("compute", at["gmacs"] * at["samples"])
    return at


def _command(commands: Parsers, run: Any, text: str, name: str = "") -> argparse.ArgumentParser:
    parser = commands.add_parser(name or run.__name__, help=text, description=run.__doc__)
    add_table_options(parser)
    parser.set_defaults(run=run)
    return parser


def _add_method(parser: argparse.ArgumentParser, default: str) -> None:
    names = f"{', '.join(METHODS)}; or points/form/scale/estimator"
    parser.add_argument("--method", default=default or None, help=f"{names} (default {default or DEFAULT})")


def _runs(args: argparse.Namespace, source: str | None) -> Runs:
    return _select(own_table(args, [source or ""]), args, source)


def _select(table: pd.DataFrame, args: argparse.Namespace, source: str | None) -> Runs:
    metric = loss_name(args.metric, args.loss)
    return select_runs(table, args.target, metric, source, drop_saturated=args.drop_saturated)


def _lines(law: Fit, runs: int, holdout: pd.DataFrame) -> list[str]:
    lines = [f"{law.target} {law.metric}: {law.method.name} on {law.n_points} of {runs} points: {law.verdict}"]
    left_out = {"saturated": law.n_saturated, "diverged": law.n_diverged}
    lines += [f"  {count} {kind} runs are left out" for kind, count in left_out.items() if count]
    if law.method.points.startswith("binned") and law.n_points < BINS:
        lines.append(
            f"  {BINS - law.n_points} of {BINS} bins of compute are empty, for the runs cluster: {law.n_points} points "
            "are left; ols-all uses every run"
        )
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


def _choice_lines(runs: Runs, law: Fit, holdout: pd.DataFrame) -> list[str]:
    """What the hold-out says of the default method."""
    name, scores = best_by_holdout(runs, law.method, holdout)
    if name is None:
        return [f"  default method {law.method.name}: too few runs for a hold-out to choose another"]
    unit, by = ("nats", 1.0) if is_loss(law.metric) else ("pp", 100.0)
    if name == law.method.name:
        return [f"  the hold-out chooses it too, among {', '.join(scores)}"]
    return [
        f"  the hold-out chooses {name}: {by * scores[name]:.3g} {unit} off where {law.method.name}, the default, is "
        f"{by * scores[law.method.name]:.3g} (--method {name})"
    ]


def _in_parameters(law: Fit) -> str:
    """The law in parameters N and tokens D, as Hoffmann et al. (2022) write it."""
    size, tokens = law.parameters["alpha_gmacs"], law.parameters["alpha_samples"]
    floor = f" + {law.parameters['floor']:.4g}" if "floor" in law.parameters else ""
    by = law.parameters["beta_gmacs"] * 1e9**-size
    terms = f"{by:.4g} N^{size:.4g} + {law.parameters['beta_samples']:.4g} D^{tokens:.4g}"
    return f"  in parameters N and tokens D: {terms}{floor}"


def _optimum(row: dict[Any, Any], parameters: bool) -> str:
    if not parameters:
        return f"{_with_ends(row, 'gmacs')} GMAC a sample x {_with_ends(row, 'samples')} samples seen"
    sizes = row | {name: 1e9 * row[name] for name in ("gmacs", "gmacs_low", "gmacs_high")}
    return f"{_with_ends(sizes, 'gmacs')} parameters x {_with_ends(row, 'samples')} tokens"


def _with_ends(row: dict[Any, Any], name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return f"{row[name]:.3g} ({low:.3g} to {high:.3g})" if np.isfinite(low) else f"{row[name]:.3g} (no interval)"


def _write(rows: pd.DataFrame, path: Path | None) -> None:
    if path:
        with atomic_path(path) as temporary:
            rows.to_csv(temporary, index=False)
