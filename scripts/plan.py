"""Write the study's cells as a table."""

import argparse
import csv
import io
import json
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.manifests import write_text
from clip_scaling.study import load_study, plan_rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=json.loads, help="the study as JSON")
    parser.add_argument("--grid", required=True, type=Path, help="grid.tsv to write")
    args = parser.parse_args()
    rows = plan_rows(load_study(args.config, root=Path(__file__).resolve().parent.parent))
    table = io.StringIO()
    writer = csv.DictWriter(table, fieldnames=list(rows[0]), delimiter="\t", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(args.grid, table.getvalue())


if __name__ == "__main__":
    run_script(main)
