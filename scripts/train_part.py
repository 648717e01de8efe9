"""Train a part of a run: pairs -> the state that the next part, and under schedule wsd a cooldown, start from.

Without --steps it is a part of a trunk (schedule wsd); with it, of a cell that is evaluated on its way.

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
    parser.add_argument("--run", required=True, help="the trunk, Model-..._Data-..._Seed-..., or the cell: for the log")
    parser.add_argument("--cell", required=True, type=Cell.parse, help="the cell, or the one that branches off here")
    add_training_arguments(parser)
    parser.add_argument("--start", type=Path, nargs="?", help="state.pt of the part before")
    parser.add_argument("--stop", required=True, type=int, help="last step of this part")
    parser.add_argument("--steps", type=int, help="of the whole run, where it has an end")
    parser.add_argument("--state", required=True, type=Path, help="state.pt to write")
    args = parser.parse_args()
    from clip_scaling.train.job import train_part

    if train_part(args).state == "saved":
        ignore()
        sys.exit(EXIT_SAVED)


if __name__ == "__main__":
    run_script(main)
