"""Draw error against compute with its laws: one panel a law file, as SVG and PDF."""

import argparse
import json
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.records.frames import read_frame
from clip_scaling.records.laws import LawFile
from clip_scaling.report.law_figures import law_figure
from clip_scaling.report.style import save_figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--metrics", required=True, type=Path, help="tables/metrics.parquet")
    parser.add_argument("--laws", required=True, type=Path, nargs="+", help="law files, one a panel")
    parser.add_argument(
        "--methods", type=json.loads, default={}, help="JSON {source: method} to draw; default: each source's first"
    )
    parser.add_argument("--svg", required=True, type=Path)
    parser.add_argument("--pdf", required=True, type=Path)
    parser.add_argument("--png", type=Path)
    args = parser.parse_args()
    laws = [LawFile.read(path) for path in args.laws]
    save_figure(law_figure(read_frame(args.metrics), laws, args.methods), args.svg, args.pdf, args.png)


if __name__ == "__main__":
    run_script(main)
