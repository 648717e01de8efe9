"""Fetch the paper's released tables at a fixed commit, or copy them from a folder, and check their sha256.

python scripts/retrieve_published.py --files '[{"path": "arch_info.csv", "url": "https://...", "sha256": "4418..."}]' \
    --destination results/data/published
"""

import argparse
import json
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.published.retrieve import retrieve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=json.loads, required=True, help="JSON list of {path, url, sha256}")
    parser.add_argument("--folder", type=Path, help="copy from here instead of fetching")
    parser.add_argument("--destination", type=Path, required=True, help="where the files and their manifest go")
    args = parser.parse_args()
    retrieve(args.files, args.destination, args.folder)


if __name__ == "__main__":
    run_script(main)
