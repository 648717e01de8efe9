"""Prepare a nested subset: the first pairs of a source, or the first that are no repeats or of chosen kinds."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from clip_scaling.data.duplicates.fingerprints import evaluation_fingerprints, read_fingerprints
from clip_scaling.data.subsets.composed import Repeats, write_composed_subset
from clip_scaling.data.subsets.in_place import TarAccess
from clip_scaling.data.subsets.prefix import write_subset
from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="key of `data` in the study")
    parser.add_argument("--source", required=True, type=Path, help="the source's manifest")
    parser.add_argument("--pairs", required=True, type=int, help="pairs of the subset")
    parser.add_argument(
        "--coloured-share", type=float, help="share of pairs with a coloured image; default: as they come"
    )
    parser.add_argument("--fingerprints", type=Path, help="of the source; with it repeats are dropped")
    parser.add_argument("--within", type=int, metavar="BITS", help="largest distance of a repeat in the source")
    parser.add_argument("--against", type=int, metavar="BITS", help="largest distance to an image of the sets")
    parser.add_argument("--sets", type=Path, nargs="*", default=[], help="fingerprints.npy of evaluation sets")
    parser.add_argument(
        "--copy", type=int, metavar="PAIRS", help="out of existing tars into shards of this many; default: list them"
    )
    parser.add_argument(
        "--verify", default="{}", help="by subset, how existing tars are compared with their hashes: JSON"
    )
    parser.add_argument("--output", required=True, type=Path, help="the manifest; all other files go beside it")
    args = parser.parse_args()
    root = args.output.parent
    repeats, access = None, TarAccess(json.loads(args.verify).get(args.name, "sample"), args.copy)
    if args.fingerprints is not None:
        sets = evaluation_fingerprints(args.sets)
        repeats = Repeats(args.within, args.against, read_fingerprints(args.fingerprints), sets)
    if args.coloured_share is None and repeats is None:
        write_subset(root, args.name, args.source, args.pairs, access)
    else:
        write_composed_subset(root, args.name, args.source, args.pairs, args.coloured_share, repeats, access)


if __name__ == "__main__":
    run_script(main)
