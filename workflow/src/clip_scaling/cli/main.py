"""Plan and monitor studies, fit scaling laws to a table, verify data, export checkpoints, and check a cluster."""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from ..errors import run_script

GROUPS = {
    "study": ("plan", "status", "rerun", "verify-study"),
    "laws": ("fit", "compare", "allocate", "next"),
    "forecast": ("forecast", "judge"),
    "data": ("overlap", "verify"),
    "model": ("export",),
    "cluster": ("doctor",),
}
"""Commands by the module beside this one that has them. A command loads its own module alone."""


def main() -> None:
    """Entry point of the console command."""
    run_script(_main)


def _main() -> None:
    parser = argparse.ArgumentParser(prog="clip-scaling", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    asked = [group for group, names in GROUPS.items() if set(sys.argv[1:2]) & set(names)]
    for group in asked or GROUPS:
        import_module(f".{group}", __package__).add_commands(commands)
    args = parser.parse_args()
    args.run(args)
