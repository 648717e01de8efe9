"""Count the images of a training set that repeat an earlier one, and those of evaluation sets that it shows."""

from __future__ import annotations

import argparse
from pathlib import Path

from clip_scaling.data.duplicates.count import count_duplicates
from clip_scaling.data.duplicates.fingerprints import evaluation_fingerprints, read_fingerprints
from clip_scaling.data.subsets.places import subset_places
from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help="manifest of the subset")
    parser.add_argument("--source", required=True, type=Path, help="fingerprints.npy of its source")
    parser.add_argument("--sets", type=Path, nargs="*", default=[], help="fingerprints.npy of the evaluation sets")
    parser.add_argument("--output", required=True, type=Path, help="duplicates.json")
    args = parser.parse_args()
    training = read_fingerprints(args.source)[subset_places(args.data)]
    count_duplicates(training, evaluation_fingerprints(args.sets)).write(args.output)


if __name__ == "__main__":
    run_script(main)
