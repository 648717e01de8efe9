"""Collect the metrics of all cells of the plan into one tidy table."""

import argparse
from pathlib import Path

import pandas as pd

from clip_scaling.errors import run_script
from clip_scaling.manifests import atomic_path
from clip_scaling.tables import collect_metrics


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--grid", required=True, type=Path, help="grid.tsv of the plan")
    parser.add_argument("--study-folder", required=True, type=Path, help="results/{study}")
    parser.add_argument("--csv", required=True, type=Path)
    parser.add_argument("--parquet", required=True, type=Path)
    args = parser.parse_args()
    table = collect_metrics(pd.read_csv(args.grid, sep="\t"), args.study_folder, source=args.study_folder.name)
    with atomic_path(args.csv) as temporary:
        table.to_csv(temporary, index=False)
    with atomic_path(args.parquet) as temporary:
        table.to_parquet(temporary, index=False)
    print(f"{table['cell'].nunique()} cells, {len(table)} metrics -> {args.csv}")


if __name__ == "__main__":
    run_script(main)
