"""Prepare one evaluation set in clip-benchmark's webdataset layout: held out of a source, digits, or from a folder."""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the evaluation dataset")
    parser.add_argument("--origin", required=True, choices=["held_out", "digits", "idx", "webdataset"])
    parser.add_argument("--source", type=Path, nargs="?", help="held_out: the source's manifest")
    parser.add_argument("--set", help="held_out: key in the source; idx, webdataset: its folder")
    parser.add_argument("--output", required=True, type=Path, help="the manifest; all other files go beside it")
    args = parser.parse_args()
    root = args.output.parent
    if args.origin == "held_out":
        from clip_scaling.data.evaluation_sets.held_out import write_evaluation_set

        write_evaluation_set(root, args.name, args.source, args.set)
    elif args.origin == "digits":
        from clip_scaling.data.evaluation_sets.labelled import write_digits

        write_digits(root, args.name)
    elif args.origin == "idx":
        from clip_scaling.data.evaluation_sets.labelled import write_idx

        write_idx(root, args.name, Path(args.set))
    else:
        from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set

        index_evaluation_set(root, args.name, Path(args.set))


if __name__ == "__main__":
    run_script(main)
