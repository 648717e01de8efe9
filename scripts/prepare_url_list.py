"""Join the downloaded parts of a source of kind url_list: clean, hold out, order, shard."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from clip_scaling.data.sources.urls.removal import read_removal_list
from clip_scaling.data.sources.urls.source import write_url_source
from clip_scaling.errors import run_script
from clip_scaling.study.config.sources import UrlListSource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True, help="key of `sources` in the study")
    parser.add_argument("--recipe", required=True, help="the source's settings that decide its content, as JSON")
    parser.add_argument("--parts", required=True, type=Path, nargs="+", help="the parts' last round-N.json")
    parser.add_argument("--removal-list", type=Path, nargs="?", help="URLs and sha256 that must not be kept")
    parser.add_argument("--output", required=True, type=Path, help="manifest.json; all other files go beside it")
    parser.add_argument("--workers", type=int, default=1, help="processes that write shards; the result is the same")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    recipe = UrlListSource.from_tracked(json.loads(args.recipe))
    removal = read_removal_list(args.removal_list)
    write_url_source(args.output.parent, args.name, recipe, args.parts, removal, args.workers)


if __name__ == "__main__":
    run_script(main)
