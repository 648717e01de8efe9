"""Prepare a source of pairs that are there: index existing tars where they lie, or write image files into shards."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from pydantic import TypeAdapter

from clip_scaling.data.sources.tars.lists import tars_of
from clip_scaling.errors import DataError, run_script
from clip_scaling.study.config.data import Source
from clip_scaling.study.config.existing import FolderSource, TableSource, WebdatasetSource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="key of `sources` in the study")
    parser.add_argument("--recipe", required=True, help="the source's settings that decide its content, as JSON")
    parser.add_argument(
        "--beside", required=True, help="by source, its settings that change no pair, places among them, as JSON"
    )
    parser.add_argument("--output", required=True, type=Path, help="manifest.json; all other files go beside it")
    parser.add_argument("--workers", type=int, default=1, help="processes; the result is the same")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    settings = {"pairs": 1} | json.loads(args.recipe) | json.loads(args.beside)[args.name]
    recipe = TypeAdapter(Source).validate_python(settings)
    root = args.output.parent
    if isinstance(recipe, WebdatasetSource):
        from clip_scaling.data.sources.tars.source import write_tar_source

        write_tar_source(root, args.name, recipe, tars_of(args.name, recipe.tars), args.workers)
    elif isinstance(recipe, FolderSource | TableSource):
        from clip_scaling.data.sources.files.source import write_file_source

        write_file_source(root, args.name, recipe, args.workers)
    else:
        raise DataError(f"source {args.name}: kind {recipe.kind} is prepared by another rule.")


if __name__ == "__main__":
    run_script(main)
