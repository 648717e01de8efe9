"""Lay out a held-out set as clip-benchmark reads it."""

from __future__ import annotations

import argparse
from pathlib import Path

from clip_scaling.data.evaluation_set import write_evaluation_set
from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="name of the evaluation dataset, `{source}-{set}`")
    parser.add_argument("--source", required=True, type=Path, help="the source's manifest.json")
    parser.add_argument("--set", required=True, dest="held_out", help="key of the source's `held_out`")
    parser.add_argument("--output", required=True, type=Path, help="manifest.json; all other files go beside it")
    args = parser.parse_args()
    write_evaluation_set(args.output.parent, args.name, args.source, args.held_out)


if __name__ == "__main__":
    run_script(main)
