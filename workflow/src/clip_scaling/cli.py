"""The command `clip-scaling`: laws of a table of one's own."""

from __future__ import annotations

import argparse

from .errors import run_script
from .laws.commands import add_commands


def main() -> None:
    """Entry point of the console command."""
    run_script(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="clip-scaling", description=__doc__)
    add_commands(parser.add_subparsers(dest="command", required=True))
    args = parser.parse_args()
    args.run(args)
