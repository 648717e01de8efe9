"""Import results that clip-benchmark wrote, JSON or CSV, into a tidy table of metrics.

python scripts/import_results.py RESULT.json FOLDER benchmark.csv --source openclip --csv results/imported/metrics.csv
"""

import argparse
import logging
from pathlib import Path

import pandas as pd

from clip_scaling.errors import EvaluationError, run_script
from clip_scaling.evaluate.import_results import (
    evaluation_of,
    known_results,
    name_runs,
    read_results,
    refuse_repeats,
    tidy_evaluations,
)
from clip_scaling.models.compute import gmacs_per_sample
from clip_scaling.records.seal import sealed_path
from clip_scaling.study.resolve import model_config


def gmacs_of(model: str) -> float:
    """Forward compute of a sample of a model that open_clip or this project knows."""
    return gmacs_per_sample(model_config(model, Path(__file__).resolve().parent.parent))["total"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="JSON files, folders of them, or CSV files")
    parser.add_argument("--source", required=True, help="name of these runs in the table")
    parser.add_argument(
        "--runs", type=Path, help="CSV of what is known of each cell: cell, samples_seen, data, unique_pairs, ..."
    )
    parser.add_argument("--csv", required=True, type=Path, help="the table; a parquet goes beside it")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    runs = {}
    if args.runs:
        try:
            known = pd.read_csv(args.runs).set_index("cell")
        except (OSError, KeyError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            raise EvaluationError(f"{args.runs}: a CSV with a column `cell` is needed ({error}).") from None
        runs = {str(cell): row.dropna().to_dict() for cell, row in known.iterrows()}
    results = known_results(read_results(args.results))
    names = name_runs(results)
    evaluations = [evaluation_of(found, gmacs_of, runs, name) for found, name in zip(results, names, strict=True)]
    refuse_repeats(results, evaluations)
    table = tidy_evaluations(evaluations, args.source)
    with sealed_path(args.csv) as temporary:
        table.to_csv(temporary, index=False)
    with sealed_path(args.csv.with_suffix(".parquet")) as temporary:
        table.to_parquet(temporary, index=False)
    print(f"{table['cell'].nunique()} cells, {len(table)} metrics -> {args.csv}")


if __name__ == "__main__":
    run_script(main)
