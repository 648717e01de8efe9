"""Train a cell of the grid, a part of one, or try for a short time how fast it is.

The same command continues a run that was stopped. Signals USR1, USR2, TERM and INT save the run at the next step; it
then ends with exit code 75.
"""

import argparse
import json
import sys
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.machine.warm import hand_over
from clip_scaling.study.grid import Cell
from clip_scaling.train.signals import EXIT_SAVED, ignore, listen


def main() -> None:
    listen()  # before torch is imported: a signal must not be missed
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(dest="kind", required=True)
    cell = kinds.add_parser("cell", help="to its checkpoint, record and curve")
    part = kinds.add_parser("part", help="to the state.pt that the next part, or a cooldown, starts from")
    part.add_argument("--run", required=True, help="the trunk, Model-..._Data-..._Seed-..., or the cell: for the log")
    part.add_argument("--stop", required=True, type=int, help="last step of this part")
    part.add_argument("--steps", type=int, help="of the whole run; a trunk has no end of its own")
    pilot = kinds.add_parser("pilot", help="to a JSON file with its speed, which the plan estimates from")
    pilot.add_argument("--seconds", type=float, default=30.0, help="of training that is timed")
    for each in (cell, part, pilot):
        add_options(each)
    args = parser.parse_args()
    if train(args) == "saved":
        ignore()
        sys.exit(EXIT_SAVED)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Options that all kinds share."""
    parser.add_argument("--cell", required=True, type=Cell.parse, help="Model-..._Data-..._Samples-..._Seed-...")
    parser.add_argument("--data", required=True, type=Path, help="manifest of the packed pairs, or of the subset")
    parser.add_argument("--tokenizer", required=True, type=Path, help="the source's merges.txt.gz")
    parser.add_argument(
        "--recipe", required=True, type=json.loads, help='JSON: {"recipe", "model_config", "recipe_version"}'
    )
    parser.add_argument("--resources", type=json.loads, default={}, help="JSON: the study's `resources`")
    parser.add_argument("--start", type=Path, nargs="?", help="state.pt of the part or the trunk before")
    parser.add_argument("--validation", type=Path, nargs="*", default=[], help="manifests of sets to validate on")
    parser.add_argument("--validation-times", type=int, default=10, help="validations a run")
    parser.add_argument("--validation-samples", type=int, default=1000, help="images or pairs of a set, at most")
    parser.add_argument("--batch-size", type=int, default=256, help="images or captions a forward pass of a validation")
    parser.add_argument("--loss-batch-size", type=int, default=250, help="fixed batch of the held-out contrastive loss")
    parser.add_argument("--resume", required=True, type=Path, help="folder of saved states, curve and heartbeat")
    parser.add_argument("--output", required=True, type=Path, nargs="+", help="files to write, in the kind's order")


def train(args: argparse.Namespace) -> str:
    """Run the job; how it ended."""
    import clip_scaling.models.fast_import  # noqa: F401, before all that imports open_clip

    # isort: split
    from clip_scaling.evaluate.validation import Validator
    from clip_scaling.train.job import CellFiles, TrainJob, train_cell, train_part
    from clip_scaling.train.peer import train_cell_by_peer
    from clip_scaling.train.pilot import run_pilot

    sizes = (args.validation_samples, args.batch_size, args.loss_batch_size)
    validation = Validator(args.validation, args.tokenizer, *sizes) if args.validation else None
    job = TrainJob(
        args.cell, args.data, args.tokenizer, args.recipe, args.resources, args.resume, args.start, validation,
        args.validation_times,
    )  # fmt: skip
    if args.kind == "pilot":
        run_pilot(job, args.seconds).write(args.output[0])
        return "trained"
    if args.kind == "part":
        return train_part(job, args.run, args.stop, args.steps, args.output[0]).state
    if args.recipe["recipe"].get("trainer") == "open_clip_train":
        train_cell_by_peer(job, CellFiles(*args.output))
        return "trained"
    return train_cell(job, CellFiles(*args.output)).state


if __name__ == "__main__":
    hand_over(is_listening=True)
    run_script(main)
