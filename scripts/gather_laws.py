"""Gather law files into a study's tables.

python scripts/gather_laws.py results/laptop/laws/*/*.json --laws results/laptop/tables/laws.csv \
    --predictions results/laptop/tables/predictions.csv
"""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.laws import study_tables
from clip_scaling.laws.calibrate import calibrated
from clip_scaling.records.laws import LawFile
from clip_scaling.records.seal import sealed_path

TABLES = {
    "laws": (study_tables.laws_table, "one row a (target, metric, source, method)"),
    "predictions": (study_tables.predictions_table, "one row a prediction"),
    "methods": (study_tables.methods_table, "hold-out error of each method, and the one it chooses"),
    "comparisons": (study_tables.comparisons_table, "one row a pair of sources"),
    "sensitivity": (study_tables.sensitivity_table, "the exponent over all defensible choices"),
    "allocation": (study_tables.allocation_table, "model size and samples seen of least error, by budget"),
    "next-cells": (study_tables.next_cells_table, "what one more cell would buy"),
    "leave-out": (study_tables.leave_out_table, "what each method predicts for the models left out"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("law", type=Path, nargs="+", help="law files (JSON)")
    for name, (_, text) in TABLES.items():
        parser.add_argument(f"--{name}", type=Path, help=f"CSV to write: {text}")
    args = parser.parse_args()
    laws = calibrated([LawFile.read(path) for path in args.law])
    for name, (build, _) in TABLES.items():
        path = getattr(args, name.replace("-", "_"))
        if path is not None:
            with sealed_path(path) as temporary:
                build(laws).to_csv(temporary, index=False)


if __name__ == "__main__":
    run_script(main)
