"""Train a cell for a short time and write how fast it is: what `snakemake plan` estimates from."""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.records.files import write_json
from clip_scaling.study.grid import Cell
from clip_scaling.train.arguments import add_training_arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", required=True, type=Cell.parse, help="Model-..._Data-..._Samples-..._Seed-...")
    add_training_arguments(parser)
    parser.add_argument("--seconds", type=float, default=30.0, help="of training that is timed")
    parser.add_argument("--output", required=True, type=Path, help="JSON to write")
    args = parser.parse_args()
    from clip_scaling.train.pilot import run_pilot

    write_json(args.output, run_pilot(args))


if __name__ == "__main__":
    run_script(main)
