"""Train one cell of the grid: pairs -> checkpoint, record and curve. The same command continues a run that was stopped.

Signals USR1, USR2, TERM and INT save the run at the next step; it then ends with exit code 75.
"""

import argparse
import sys
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.study.grid import Cell
from clip_scaling.train.arguments import add_training_arguments
from clip_scaling.train.signals import EXIT_SAVED, ignore, listen


def main() -> None:
    listen()  # before torch is imported: a signal must not be missed
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", required=True, type=Cell.parse, help="Model-..._Data-..._Samples-..._Seed-...")
    add_training_arguments(parser)
    parser.add_argument("--start", type=Path, nargs="?", help="state.pt of the trunk that the cell branches off")
    parser.add_argument("--checkpoint", required=True, type=Path, help="written last: weights")
    parser.add_argument("--record", required=True, type=Path, help="train.json")
    parser.add_argument("--curve", required=True, type=Path, help="curve.jsonl")
    args = parser.parse_args()
    if args.recipe["recipe"].get("trainer") == "open_clip_train":
        from clip_scaling.train.peer import train_cell_by_peer

        train_cell_by_peer(args)
        return
    from clip_scaling.train.job import train_cell

    if train_cell(args).state == "saved":
        ignore()
        sys.exit(EXIT_SAVED)


if __name__ == "__main__":
    run_script(main)
