"""Index a part of a source's existing tars: a record a tar, from which prepare_existing joins the whole."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from clip_scaling.data.sources.tars.lists import part_of, tars_of
from clip_scaling.data.sources.tars.records import IndexSettings, index_tars, read_about
from clip_scaling.errors import run_script
from clip_scaling.records.files import write_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="key of `sources` in the study")
    parser.add_argument("--settings", required=True, help="caption_key and has_images_hashed, as JSON")
    parser.add_argument(
        "--beside", required=True, help="by source, its settings that change no pair, places among them, as JSON"
    )
    parser.add_argument("--part", required=True, type=int, help="number of the part, from 0")
    parser.add_argument("--parts", required=True, type=int)
    parser.add_argument("--output", required=True, type=Path, help="JSON; the records go beside it")
    parser.add_argument("--workers", type=int, default=1, help="processes; the result is the same")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    tars = part_of(tars_of(args.name, json.loads(args.beside)[args.name]["tars"]), args.part, args.parts)
    records = index_tars(args.output.parent, tars, IndexSettings(**json.loads(args.settings)), args.workers)
    abouts = [read_about(path) for path in records]
    kept, size = (sum(about[key] for about in abouts) for key in ("pairs", "bytes"))
    write_json(args.output, {"tars": len(tars), "pairs": kept, "bytes": size})


if __name__ == "__main__":
    run_script(main)
