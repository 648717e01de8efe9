"""The command on prepared data: `clip-scaling overlap`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ..records.files import canonical_json
from ..study.paths import DataPaths


def add_commands(commands: Any) -> None:
    """Add the command to a parser's subcommands."""
    parser = commands.add_parser("overlap", help="pairs that two subsets share", description=overlap.__doc__)
    parser.add_argument("data", nargs=2, metavar="DATA", help="two keys of `data`, prepared")
    parser.add_argument("--root", type=Path, default=Path("."), help="the project folder (default: this one)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=overlap)


def overlap(args: argparse.Namespace) -> None:
    """How many pairs two prepared subsets share, from files alone."""
    from ..data.subsets.overlap import overlap as find_overlap  # numpy: only where it is needed

    found = find_overlap(*(DataPaths(args.root / "results").manifest(name) for name in args.data))
    if args.json:
        names = zip(args.data, found.pairs, found.shares, strict=True)
        about = [{"data": name, "pairs": pairs, "share": share} for name, pairs, share in names]
        print(canonical_json({"shared": found.shared, "of": about, "has_one_source": found.has_one_source}))
        return
    told = " and ".join(
        f"{share:.4%} of {name} ({pairs:,})"
        for name, pairs, share in zip(args.data, found.pairs, found.shares, strict=True)
    )
    how = "one source" if found.has_one_source else "two sources, compared by identity"
    print(f"{found.shared:,} pairs are in both: {told}; {how}")
