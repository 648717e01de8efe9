"""Fetch one list of URLs."""

from __future__ import annotations

import argparse
from pathlib import Path

from clip_scaling.data.sources.urls.download import fetch_list
from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="where the list is published")
    parser.add_argument("--output", required=True, type=Path, help="where it goes")
    args = parser.parse_args()
    fetch_list(args.url, args.output)


if __name__ == "__main__":
    run_script(main)
