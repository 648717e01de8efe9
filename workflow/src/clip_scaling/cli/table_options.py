"""Options by which `clip-scaling fit | compare | allocate | next | forecast | judge` read a user's own table."""

from __future__ import annotations

import argparse
import errno
import os
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..errors import LawError
from ..laws.own_table.file import read_table
from ..laws.own_table.tidy import COLUMNS, DERIVED, Reading, tidy_candidates, tidy_table
from ..laws.own_table.units import PASSES, UNITS

SIZE, TOKENS = "gmacs_per_sample", "samples_seen"


def add_table_options(parser: argparse.ArgumentParser, *, target: bool = True) -> None:
    """Add the table and the options that say what its columns mean. target: also what is looked at."""
    add = parser.add_argument
    add("table", type=Path, help="CSV or Parquet, one row a run and target")
    if target:
        add("--target", required=True, help="value of the column `dataset`; a name, where there is none")
        add("--metric", default="acc1", help="value of `metric` (default acc1); a name in ...loss is itself an error")
    add(
        "--loss",
        action="store_true",
        help="the metric is itself an error, whatever its name (perplexity)",
    )
    add(
        "--column",
        action="append",
        default=[],
        metavar="OURS=YOURS",
        help=f"a column's name; ours: {', '.join(COLUMNS)}",
    )
    add("--parameters", metavar="YOURS", help="column of parameters of dense models: 1 MAC each a token")
    add("--tokens", metavar="YOURS", help="with --parameters: column of training tokens")
    add("--training-flop", metavar="YOURS", help="with --parameters: column of training FLOP, 6 N D")
    add("--compute-unit", choices=UNITS, help="of compute (default GMAC; FLOP with --parameters)")
    add("--compute-passes", choices=PASSES, help="counted (default forward; total with --parameters)")
    add("--unit", action="append", default=[], metavar="OURS=UNIT",
        help="of one column: compute_gmacs=FLOP/total, gmacs_per_sample=MAC, samples_seen=B, value=%%")  # fmt: skip
    add("--derive", action="append", default=[], choices=DERIVED, help="make a column of compute and the other factor")
    add("--decimal", choices=[".", ","], help="the decimal mark, where cells do not show it")
    add("--sweep", choices=["best", "all"], help="runs of a cell that differ in a learning rate: the best, or each")
    add("--chance", type=float, help="accuracy of guessing: runs not above it have not begun, as with an error of 1")
    add(
        "--drop-saturated",
        action="store_true",
        help="leave out runs with an error of exactly 0 or 1, or at --chance, which are refused",
    )


def own_table(args: argparse.Namespace, sources: Iterable[str] = ()) -> pd.DataFrame:
    """Read the table that the options describe; print what was done to its rows.

    sources: values of the column `source` that are asked for. LawError where there is no such column.
    """
    table, columns, reading = read_table(args.table), mapped_columns(args), reading_of(args)
    if args.chance is not None and not 0 < args.chance < 1:
        raise LawError(f"--chance {args.chance:g}: an accuracy between 0 and 1 is needed.")
    asked = [source for source in sources if source]
    if asked and columns.get("source", "source") not in table:
        raise LawError(
            f"{', '.join(asked)}: the table has no column 'source'. It has {', '.join(map(str, table.columns))}",
            remedy="Name it: --column source=YOURS.",
        )
    if len(set(asked)) < len(asked):
        raise LawError(f"--sources {' '.join(asked)}: a source is not compared with itself", remedy="Name two sources.")
    tidy = tidy_table(table, columns, args.target, args.metric, reading=reading)
    if args.chance is not None:
        tidy["chance"] = args.chance
    for note in tidy.attrs["notes"]:
        print(note)
    return tidy


def own_candidates(args: argparse.Namespace) -> pd.DataFrame | None:
    """Read --candidates, under the same names and units as the table."""
    if not args.candidates:
        return None
    reading = reading_of(args)
    return tidy_candidates(read_table(args.candidates), mapped_columns(args), reading)


def mapped_columns(args: argparse.Namespace) -> dict[str, str]:
    """Our name -> theirs. LawError where one of ours is given twice."""
    given = [pair(text, "--column ") for text in args.column]
    given += [
        (ours, theirs)
        for ours, theirs in ((SIZE, args.parameters), (TOKENS, args.tokens), ("compute_gmacs", args.training_flop))
        if theirs
    ]
    if args.parameters is None and (args.tokens or args.training_flop):
        raise LawError("--tokens and --training-flop go with --parameters YOURS.")
    columns: dict[str, str] = {}
    for ours, theirs in given:
        if ours in columns and columns[ours] != theirs:
            raise LawError(f"--column {ours}: given as {columns[ours]!r} and as {theirs!r}", remedy="Name one of them.")
        columns[ours] = theirs
    return columns


def reading_of(args: argparse.Namespace) -> Reading:
    """How the table is to be read."""
    units = dict(pair(text, "--unit ") for text in args.unit)
    derive = list(dict.fromkeys(args.derive))
    if args.parameters:
        units = {SIZE: "parameters", "compute_gmacs": "FLOP/total"} | units
        derive += [TOKENS] if args.training_flop and not args.tokens and TOKENS not in derive else []
    unit, passes = compute_unit(args)
    return Reading(unit, passes, units, args.decimal or "", args.sweep or "", tuple(derive), args.loss)


def compute_unit(args: argparse.Namespace) -> tuple[str, str]:
    """Unit and passes of compute, of the table and of budgets."""
    usual = ("FLOP", "total") if args.parameters else ("GMAC", "forward")
    return args.compute_unit or usual[0], args.compute_passes or usual[1]


def pair(text: str, option: str = "") -> tuple[str, str]:
    """Split NAME=VALUE."""
    ours, equals, theirs = text.partition("=")
    if not equals or not ours or not theirs:
        examples = {"--column ": "OURS=YOURS, for example compute_gmacs=flops", "--unit ": "OURS=UNIT"}
        raise LawError(f"{option}{text}: write {examples.get(option, 'FACTOR=VALUE, for example compute=1e12')}.")
    return ours, theirs


def check_output(path: Path | None) -> None:
    """LawError where nothing can be written there, before anything is computed."""
    if path is None:
        return
    if path.is_dir() or not path.name:
        raise LawError(f"--output {path}: it is a folder", remedy="Name a file in it.")
    above = path.absolute().parent
    try:
        above.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = "a file is in its way" if error.errno in (errno.EEXIST, errno.ENOTDIR) else error.strerror
        raise LawError(f"--output {path}: {above} cannot be made ({why})", remedy="Name another place.") from None
    if not os.access(above, os.W_OK):
        raise LawError(f"--output {path}: {above} cannot be written to", remedy="Name another place.")
