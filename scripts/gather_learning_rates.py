"""Gather the runs of the learning-rate search into one table, and find the optimal rate of each model."""

import argparse
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.evaluate.collect import gather_learning_rates
from clip_scaling.laws.optimal_rates import FOUND, optimal_rates
from clip_scaling.records.seal import sealed_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("records", type=Path, nargs="+", help="record of each run")
    parser.add_argument("--output", required=True, type=Path, help="CSV to write")
    parser.add_argument("--optima", required=True, type=Path, help="CSV to write: the optimum of each model")
    args = parser.parse_args()
    table = gather_learning_rates(args.records)
    with sealed_path(args.output) as temporary:
        table.to_csv(temporary, index=False)
    print(table.to_string(index=False))
    optima = optimal_rates(table)
    with sealed_path(args.optima) as temporary:
        optima.to_csv(temporary, index=False)
    for row in optima.to_dict("records"):
        found = f"{row['learning_rate']:.3g}" if row["verdict"] == FOUND else row["verdict"]
        print(f"optimal learning rate of {row['model']}: {found}")


if __name__ == "__main__":
    run_script(main)
