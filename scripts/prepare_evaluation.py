"""Prepare one evaluation set in clip-benchmark's webdataset layout: held out of a source, digits, or from a folder."""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the evaluation dataset")
    parser.add_argument("--origin", required=True, choices=["held_out", "digits", "idx", "webdataset"])
    parser.add_argument("--source", type=Path, nargs="?", help="held_out: the source's manifest.json")
    parser.add_argument("--set", dest="held_out", help="held_out: key in the source; idx, webdataset: its folder")
    parser.add_argument("--output", required=True, type=Path, help="manifest.json; all other files go beside it")
    args = parser.parse_args()
    if args.origin == "held_out":
        from clip_scaling.data.evaluation_sets.held_out import write_evaluation_set

        write_evaluation_set(args.output.parent, args.name, args.source, args.held_out)
    elif args.origin == "digits":
        from clip_scaling.data.evaluation_sets.labelled import write_digits

        write_digits(args.output.parent, args.name)
    elif args.origin == "idx":
        from clip_scaling.data.evaluation_sets.labelled import write_idx

        write_idx(args.output.parent, args.name, Path(args.held_out))
    else:
        from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set

        index_evaluation_set(args.output.parent, args.name, Path(args.held_out))


if __name__ == "__main__":
    run_script(main)
