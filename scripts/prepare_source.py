"""Prepare a source of any kind: shards or an index, held-out sets, tokenizer, attribution, and the manifest last."""

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
    parser.add_argument("--recipe", required=True, help="the source's settings that decide its content, as JSON")
    parser.add_argument("--beside", required=True, help="by source, all its other settings, as JSON")
    parser.add_argument("--units", type=Path, nargs="*", default=[], help="records of the jobs before this one")
    parser.add_argument("--output", required=True, type=Path, help="the manifest; all other files go beside it")
    parser.add_argument("--workers", type=int, default=1, help="processes; the result is the same")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    settings = json.loads(args.recipe) | json.loads(args.beside)[args.name]
    source = TypeAdapter(Source).validate_python(settings)
    source.prepare(Work(args.name, args.output, tuple(args.units), args.workers))


if __name__ == "__main__":
    run_script(main)
