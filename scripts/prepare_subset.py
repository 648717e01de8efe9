"""Prepare a nested subset: the first pairs of a source."""

from __future__ import annotations

import argparse
from pathlib import Path

from clip_scaling.data.composition import write_composed_subset
from clip_scaling.data.subset import write_subset
from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="key of `data` in the study")
    parser.add_argument("--source", required=True, type=Path, help="the source's manifest.json")
    parser.add_argument("--pairs", required=True, type=int, help="pairs of the subset")
    parser.add_argument(
        "--coloured-share", type=float, help="share of pairs with a coloured image; default: as they come"
    )
    parser.add_argument("--output", required=True, type=Path, help="manifest.json; all other files go beside it")
    args = parser.parse_args()
    if args.coloured_share is None:
        write_subset(args.output.parent, args.name, args.source, args.pairs)
    else:
        write_composed_subset(args.output.parent, args.name, args.source, args.pairs, args.coloured_share)


if __name__ == "__main__":
    run_script(main)
