"""Write the data card of a training set: card.json and contact_sheet.png."""

from __future__ import annotations

import argparse
from pathlib import Path

from clip_scaling.data.card import write_card
from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help="the subset's manifest")
    parser.add_argument("--source", required=True, type=Path, help="its source's manifest")
    parser.add_argument("--duplicates", required=True, type=Path, help="the subset's duplicates.json")
    parser.add_argument("--output", required=True, type=Path, help="card.json; the contact sheet goes beside it")
    args = parser.parse_args()
    write_card(args.output.parent, args.data, args.source, args.duplicates)


if __name__ == "__main__":
    run_script(main)
