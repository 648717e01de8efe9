"""Download one part of a source of kind url_list, or ask once more for what failed; goes on where it was killed."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from clip_scaling.data.sources.urls.part import download_part
from clip_scaling.data.sources.urls.removal import read_removal_list
from clip_scaling.errors import run_script
from clip_scaling.study.config.sources import UrlListSource


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", required=True, help="name of the part")
    parser.add_argument("--recipe", required=True, help="the source's settings that decide what is downloaded, as JSON")
    parser.add_argument("--source", required=True, help="key of `sources` in the study")
    parser.add_argument("--downloads", default="{}", help="`download` of the study's sources by their keys, as JSON")
    parser.add_argument("--list", required=True, type=Path, help="parquet, CSV or TSV file of URLs and captions")
    parser.add_argument("--suffix", required=True, help="what kind of file it is: .parquet, .csv, .csv.gz, ...")
    parser.add_argument("--removal-list", type=Path, nargs="?", help="URLs and sha256 that must not be kept")
    parser.add_argument("--round", type=int, default=0, help="0: every row; later ones: what failed in passing")
    parser.add_argument("--output", required=True, type=Path, help="round-N.json; all other files go beside it")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    download = json.loads(args.downloads).get(args.source, {})
    recipe = UrlListSource.from_tracked(json.loads(args.recipe), download=download)
    removal = read_removal_list(args.removal_list)
    download_part(args.output.parent, args.part, (args.list, args.suffix), recipe, removal, args.round)


if __name__ == "__main__":
    run_script(main)
