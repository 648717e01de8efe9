"""Write report.html, one file that opens offline, from a study's tables, law files, records, manifests and figures."""

import argparse
import json
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.records.files import write_text
from clip_scaling.records.provenance import write_lock
from clip_scaling.report.page import FIGURE_LABELS, render_report
from clip_scaling.report.read import Inputs, read_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", required=True, type=Path, help="results/{study}: its tables, runs and figures")
    parser.add_argument("--study", required=True, help="name of the study")
    parser.add_argument("--title", default="", help="heading of the page; default: the study's name")
    parser.add_argument("--configfile", default="config/laptop.yaml", help="the study file, for the commands printed")
    parser.add_argument("--laws", required=True, type=Path, nargs="+", help="law files, most telling first")
    parser.add_argument("--methods", type=json.loads, default={}, help="JSON {source: method} of the headline laws")
    parser.add_argument("--manifests", type=Path, nargs="*", default=[], help="of sources, subsets, evaluation sets")
    parser.add_argument(
        "--cards", type=Path, nargs="*", default=[], help="data cards, results/{study}/data/{data}/card.json"
    )
    parser.add_argument("--learning-curves", type=Path, nargs="?", help="learning_curves.csv: evaluations on the way")
    parser.add_argument("--figures", nargs="*", default=[], choices=list(FIGURE_LABELS), help="figures to show")
    parser.add_argument(
        "--single-figures", type=json.loads, default=[], help="JSON [[dataset, metric], ...] of figures to link to"
    )
    parser.add_argument("--released", type=Path, help="released tables, where the cells were trained elsewhere")
    parser.add_argument("--output", required=True, type=Path, help="report.html")
    args = parser.parse_args()
    inputs = Inputs(
        folder=args.folder,
        name=args.study,
        title=args.title,
        methods=args.methods,
        configfile=args.configfile,
        laws=args.laws,
        manifests=args.manifests,
        cards=args.cards,
        points=args.learning_curves,
        figures=args.figures,
        single_figures=[(dataset, metric) for dataset, metric in args.single_figures],
        released=args.released,
    )
    page = render_report(read_study(inputs))
    write_text(args.output, page)
    made_from = [args.folder / "tables" / "metrics.parquet", *args.laws, *args.manifests, *args.cards]
    write_lock(args.output, made_from, "altair", "jinja2", "matplotlib", "pandas", "vl-convert-python")
    print(f"{len(page.encode()) / 1e6:.2f} MB -> {args.output}")


if __name__ == "__main__":
    run_script(main)
