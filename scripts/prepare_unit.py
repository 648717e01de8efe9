"""Prepare one unit of a source: download a list of URLs, ask once more for what failed, or index some tars."""

import argparse
import json
import logging
from pathlib import Path

from pydantic import TypeAdapter

from clip_scaling.data.sources.base import Work
from clip_scaling.data.sources.registry import Source
from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="key of `sources` in the study")
    parser.add_argument("--sources", required=True, help="all sources of the study, as JSON")
    parser.add_argument("--unit", required=True, nargs="+", metavar="KEY=VALUE", help="which unit, by its wildcards")
    parser.add_argument("--output", required=True, type=Path, help="record of the unit; its other files go beside it")
    parser.add_argument("--workers", type=int, default=1, help="processes; the result is the same")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    source = TypeAdapter(Source).validate_python(json.loads(args.sources)[args.name])
    source.prepare_unit(Work(args.name, args.output, workers=args.workers), dict(u.split("=", 1) for u in args.unit))


if __name__ == "__main__":
    run_script(main)
