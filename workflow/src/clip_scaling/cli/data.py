"""The commands on prepared data: `clip-scaling overlap` and `clip-scaling verify`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..records.files import canonical_json
from ..study.paths import DataPaths


def add_commands(commands: Any) -> None:
    """Add the commands to a parser's subcommands."""
    overlap_of = commands.add_parser("overlap", help="pairs that two subsets share", description=overlap.__doc__)
    overlap_of.add_argument("data", nargs=2, metavar="DATA", help="two keys of `data`, prepared")
    overlap_of.add_argument("--json", action="store_true", help="print JSON")
    overlap_of.set_defaults(run=lambda args: overlap(args.root, args.data, args.json))
    verify_all = commands.add_parser("verify", help="prepared files against manifests", description=verify.__doc__)
    verify_all.add_argument("data", nargs="+", metavar="DATA", help="folders of results/data, such as eval-digits")
    verify_all.set_defaults(run=lambda args: verify(args.root, args.data))
    for parser in (overlap_of, verify_all):
        parser.add_argument("--root", type=Path, default=Path("."), help="the project folder (default: this one)")


def overlap(root: Path, data: Sequence[str], as_json: bool) -> None:
    """Count the pairs that two prepared subsets share, from files alone."""
    from ..data.subsets.overlap import overlap as find_overlap  # numpy: only where it is needed

    found = find_overlap(*(DataPaths(root / "results").manifest(name) for name in data))
    shown = list(zip(data, found.pairs, found.shares, strict=True))
    if as_json:
        about = [{"data": name, "pairs": pairs, "share": share} for name, pairs, share in shown]
        print(canonical_json({"shared": found.shared, "of": about, "has_one_source": found.has_one_source}))
        return
    of = " and ".join(f"{share:.4%} of {name} ({pairs:,})" for name, pairs, share in shown)
    how = "one source" if found.has_one_source else "two sources, compared by identity"
    print(f"{found.shared:,} pairs are in both: {of}; {how}")


def verify(root: Path, data: Sequence[str]) -> None:
    """Compare all files of prepared sources, subsets and evaluation sets with their manifests, by size and sha256."""
    from ..data.shards.verify import verify_data_set

    for name in data:
        count, remote = verify_data_set(DataPaths(root / "results").manifest(name))
        print(f"{name}: {count:,} files agree" + (f"; {remote:,} shards at URLs were not read" if remote else ""))
