"""Fetch @iconify/json through npm and check its hash."""

from __future__ import annotations

import argparse
from pathlib import Path

from clip_scaling.data.sources.iconify.npm import fetch
from clip_scaling.errors import run_script


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", required=True, help="version of the npm package @iconify/json")
    parser.add_argument("--sha256", required=True, help="of the tarball")
    parser.add_argument("--output", required=True, type=Path, help="where the tarball goes")
    args = parser.parse_args()
    fetch(args.version, args.sha256, args.output)


if __name__ == "__main__":
    run_script(main)
