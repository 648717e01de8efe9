"""Fingerprint the images of a source or an evaluation set: sha256 and perceptual hash of each."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from clip_scaling.data.duplicates.fingerprints import write_evaluation_fingerprints, write_source_fingerprints
from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    of = parser.add_mutually_exclusive_group(required=True)
    of.add_argument("--source", type=Path, help="manifest of a source: its training images")
    of.add_argument("--evaluation", type=Path, help="manifest of an evaluation set: its test images")
    parser.add_argument("--output", required=True, type=Path, help="fingerprints.npy, a row an image")
    parser.add_argument("--workers", type=int, default=1, help="processes; the result is the same")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    if args.source:
        write_source_fingerprints(args.output, args.source, args.workers)
    else:
        write_evaluation_fingerprints(args.output, args.evaluation)


if __name__ == "__main__":
    run_script(main)
