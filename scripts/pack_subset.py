"""Decode and tokenise a subset once, into memory-mapped arrays."""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

from clip_scaling.data.shards.packed import pack
from clip_scaling.errors import run_script
from clip_scaling.records.data import SubsetManifest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help="the subset's manifest")
    parser.add_argument("--tokenizer", required=True, type=Path, help="the source's tokenizer/merges.txt.gz")
    parser.add_argument("--image-size", required=True, type=int, help="side of the images, pixels")
    parser.add_argument("--context-length", required=True, type=int, help="tokens a caption, start and end included")
    parser.add_argument("--lost", default="{}", help="by source: share of pairs that may be unreadable, as JSON")
    parser.add_argument("--output", required=True, type=Path, help="the manifest; the arrays go beside it")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    limit = json.loads(args.lost).get(SubsetManifest.read(args.data).source, 0.0)
    pack(args.output.parent, args.data, args.tokenizer, args.image_size, args.context_length, limit)


if __name__ == "__main__":
    run_script(main)
