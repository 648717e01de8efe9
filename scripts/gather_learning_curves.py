"""Gather the evaluations of cells and trunks on their way, and of the cells at their end, into one table."""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.evaluate.collect import gather_learning_curves
from clip_scaling.records.seal import sealed_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("states", type=Path, nargs="*", help="evaluation of each saved state")
    parser.add_argument("--cells", required=True, type=Path, help="metrics.csv of the study")
    parser.add_argument("--output", required=True, type=Path, help="CSV to write")
    args = parser.parse_args()
    table = gather_learning_curves(args.states, args.cells)
    with sealed_path(args.output) as temporary:
        table.to_csv(temporary, index=False)
    print(f"{len(table)} numbers of {table['run'].nunique()} runs -> {args.output}")


if __name__ == "__main__":
    run_script(main)
