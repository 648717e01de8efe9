"""Fit the laws of one target: every source by every method.

python scripts/fit_law.py --metrics results/laptop/tables/metrics.parquet --target icons-zeroshot --metric acc1 \
    --methods '["binned-min-5","ols-all"]' --output results/laptop/laws/icons-zeroshot/acc1.json
"""

import argparse
import json
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.laws.study import fit_target
from clip_scaling.records.frames import read_frame
from clip_scaling.records.provenance import write_lock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metrics", type=Path, required=True, help="tidy table (parquet)")
    parser.add_argument("--target", required=True, help="dataset, as in the table")
    parser.add_argument("--metric", required=True, help="metric, as in the table")
    parser.add_argument("--methods", type=json.loads, required=True, help="JSON list of method names")
    parser.add_argument("--scenarios", type=Path, help="CSV of cells to predict: model, data, gmacs_per_sample, ...")
    parser.add_argument("--leave-out", type=json.loads, default=[], help="JSON list of models to predict unseen")
    parser.add_argument("--chance", type=float, help="accuracy of guessing; cells not above it are left out")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap draws")
    parser.add_argument("--output", type=Path, required=True, help="law file (JSON)")
    args = parser.parse_args()
    scenarios = read_frame(args.scenarios) if args.scenarios else None
    table = read_frame(args.metrics)
    if args.chance is not None:
        table["chance"] = args.chance
    law = fit_target(table, args.target, args.metric, args.methods, scenarios, args.leave_out, args.draws)
    law.write(args.output)
    inputs = [args.metrics, args.scenarios] if args.scenarios else [args.metrics]
    write_lock(args.output, inputs, "numpy", "scipy", "pandas")


if __name__ == "__main__":
    run_script(main)
