"""The command `clip-scaling`: a study at a glance, the overlap of its data, laws of a table of one's own, trained cells
for open_clip, and the check-up of a cluster."""

from __future__ import annotations

import argparse

from ..errors import run_script
from . import cluster as doctor
from .data import add_commands as add_data_commands
from .laws import add_commands
from .model import add_commands as add_share_commands
from .study import add_commands as add_plan_commands


def main() -> None:
    """Entry point of the console command."""
    run_script(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="clip-scaling", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    add_commands(commands)
    add_plan_commands(commands)
    add_data_commands(commands)
    add_share_commands(commands)
    doctor.add_command(
        commands.add_parser("doctor", help="check a cluster before the first job", description=doctor.doctor.__doc__)
    )
    args = parser.parse_args()
    args.run(args)
