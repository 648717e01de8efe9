"""Gather law files into one table of laws and one of predictions.

python scripts/gather_laws.py results/laptop/laws/*/*.json --laws results/laptop/tables/laws.csv \
    --predictions results/laptop/tables/predictions.csv
"""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.laws.records import laws_table, predictions_table
from clip_scaling.manifests import atomic_path, read_json


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("law", type=Path, nargs="+", help="law files (JSON)")
    parser.add_argument("--laws", type=Path, required=True, help="CSV, one row a (target, metric, source, method)")
    parser.add_argument("--predictions", type=Path, required=True, help="CSV, one row a prediction")
    args = parser.parse_args()
    laws = [read_json(path) for path in args.law]
    for path, table in ((args.laws, laws_table(laws)), (args.predictions, predictions_table(laws))):
        with atomic_path(path) as temporary:
            table.to_csv(temporary, index=False)


if __name__ == "__main__":
    run_script(main)
