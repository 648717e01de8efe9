"""Write report.html, one file that opens offline, from a study's tables, law files, records, manifests and figures."""

import argparse
import json
from pathlib import Path

import pandas as pd

from clip_scaling.errors import run_script
from clip_scaling.manifests import read_json, write_text
from clip_scaling.report.page import FIGURE_LABELS, StudyResults, render_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--title", default="", help="heading of the page; default: the study's name")
    parser.add_argument("--metrics", required=True, type=Path, help="tables/metrics.parquet")
    parser.add_argument("--law-table", required=True, type=Path, help="tables/laws.csv")
    parser.add_argument("--method-table", type=Path, help="tables/methods.csv")
    parser.add_argument("--laws", required=True, type=Path, nargs="+", help="law files, most telling first")
    parser.add_argument("--methods", type=json.loads, default={}, help="JSON {source: method} of the headline laws")
    parser.add_argument("--cells", type=Path, help="tables/cells.csv; left out where nothing was trained")
    parser.add_argument("--runs", type=Path, help="folder of {cell}/train.json")
    parser.add_argument("--manifests", type=Path, nargs="*", default=[], help="of sources, subsets, evaluation sets")
    parser.add_argument("--learning-rates", type=Path, help="tables/learning_rates.csv, where it exists")
    for kind in FIGURE_LABELS:
        parser.add_argument(f"--{kind}-figure", type=Path, help="SVG")
    parser.add_argument(
        "--target-figures", type=Path, nargs="*", default=[], help="SVG of single laws, .../TARGET/METRIC.svg"
    )
    parser.add_argument("--output", required=True, type=Path, help="report.html")
    args = parser.parse_args()
    drawn = {kind: getattr(args, f"{kind.replace('-', '_')}_figure") for kind in FIGURE_LABELS}
    metrics = pd.read_parquet(args.metrics)
    laws = [read_json(path) for path in args.laws]
    page = render_report(
        StudyResults(
            name=args.study,
            title=args.title,
            metrics=metrics,
            law_table=pd.read_csv(args.law_table),
            method_table=pd.read_csv(args.method_table) if args.method_table else None,
            laws=laws,
            methods=args.methods,
            records=[read_json(args.runs / cell / "train.json") for cell in pd.read_csv(args.cells)["cell"]]
            if args.cells
            else [],
            manifests=[read_json(path) for path in args.manifests],
            sweep=pd.read_csv(args.learning_rates) if args.learning_rates and args.learning_rates.exists() else None,
            figures={kind: path.read_text(encoding="utf-8") for kind, path in drawn.items() if path},
            target_figures={
                (law["target"], law["metric"]): path.read_text(encoding="utf-8")
                for law in laws
                for path in args.target_figures
                if path.as_posix().endswith(f"/{law['target']}/{law['metric']}.svg")
            },
        )
    )
    write_text(args.output, page)
    print(f"{len(page.encode()) / 1e6:.2f} MB -> {args.output}")


if __name__ == "__main__":
    run_script(main)
