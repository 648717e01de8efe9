"""Prepare a source: parse, hold out, draw, clean, shard."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from pydantic import TypeAdapter

from clip_scaling.data.sources import procedural
from clip_scaling.data.sources.iconify import package as iconify
from clip_scaling.data.sources.write import write_source
from clip_scaling.errors import DataError, run_script
from clip_scaling.study.config.data import Source
from clip_scaling.study.config.existing import ExistingSource
from clip_scaling.study.config.sources import IconifySource, UrlListSource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="key of `sources` in the study")
    parser.add_argument("--recipe", required=True, help="the source's entry in the study, as JSON")
    parser.add_argument("--archive", type=Path, nargs="?", help="the fetched tarball; none for a procedural source")
    parser.add_argument("--output", required=True, type=Path, help="manifest.json; all other files go beside it")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw images; the result is the same")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    recipe = TypeAdapter(Source).validate_json(args.recipe)
    if isinstance(recipe, IconifySource):
        if args.archive is None:
            raise DataError(f"source {args.name}: an iconify source needs --archive, the fetched tarball.")
        content = iconify.build(args.archive, recipe, args.workers)
    elif isinstance(recipe, ExistingSource):
        raise DataError(f"source {args.name}: kind {recipe.kind} is prepared by scripts/prepare_existing.py.")
    elif isinstance(recipe, UrlListSource):
        raise DataError(
            f"source {args.name}: it names no `lists`, so it can be planned, not prepared. Give them as the files of "
            "config/sources/ do."
        )
    else:
        content = procedural.build(recipe)
    write_source(args.output.parent, args.name, recipe, content)


if __name__ == "__main__":
    run_script(main)
