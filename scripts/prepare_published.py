"""Turn the paper's released tables into a study's tidy table, and list the cells that the paper predicts.

python scripts/prepare_published.py --folder results/data/published --metrics results/published/tables/metrics.parquet \
    --scenarios results/published/tables/scenarios.csv
"""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.published.tables import read_published, read_scenarios
from clip_scaling.records.seal import sealed_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="the released tables")
    parser.add_argument("--metrics", type=Path, required=True, help="tidy table (parquet), and a CSV of the same stem")
    parser.add_argument("--scenarios", type=Path, required=True, help="cells to predict (CSV)")
    args = parser.parse_args()
    table = read_published(args.folder)
    with sealed_path(args.metrics) as temporary:
        table.to_parquet(temporary, index=False)
    for path, rows in ((args.metrics.with_suffix(".csv"), table), (args.scenarios, read_scenarios(args.folder))):
        with sealed_path(path) as temporary:
            rows.to_csv(temporary, index=False)


if __name__ == "__main__":
    run_script(main)
