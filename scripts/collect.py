"""Collect the metrics of all cells of the plan into one tidy table."""

import argparse
import json
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.evaluate.collect import collect_cells, collect_metrics
from clip_scaling.records.seal import sealed_path
from clip_scaling.study.paths import StudyPaths
from clip_scaling.study.resolve import load_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=json.loads, help="the study as JSON: its cells are collected")
    parser.add_argument("--study-folder", required=True, type=Path, help="results/{study}")
    parser.add_argument("--csv", required=True, type=Path)
    parser.add_argument("--parquet", required=True, type=Path)
    parser.add_argument("--cells", required=True, type=Path, help="cells.csv: one row a cell")
    args = parser.parse_args()
    study = load_study(args.config, root=Path(__file__).absolute().parent.parent)
    cells, tuned = list(study.cells), {cell: study.fine_tuned_sets() for cell in study.fine_tuned_cells()}
    paths = StudyPaths(args.study_folder.name, args.study_folder.parent)
    table = collect_metrics(cells, paths, {cell: study.distribution(cell) for cell in cells}, tuned)
    with sealed_path(args.csv) as temporary:
        table.to_csv(temporary, index=False)
    with sealed_path(args.parquet) as temporary:
        table.to_parquet(temporary, index=False)
    with sealed_path(args.cells) as temporary:
        collect_cells(cells, paths).to_csv(temporary, index=False)
    print(f"{table['cell'].nunique()} cells, {len(table)} metrics -> {args.csv}")


if __name__ == "__main__":
    run_script(main)
