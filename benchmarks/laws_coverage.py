"""How often 95 % intervals cover the truth, and 90 % prediction intervals a new run, on grids with a known law.

python benchmarks/laws_coverage.py --grids 1000

Prints one row a (method, truth, deviation, parameter): coverage, median width, and the share of grids whose data did
not identify the parameter (those grids count neither way).
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from clip_scaling.laws.fits import fit_runs
from clip_scaling.laws.methods import Method, find_method
from clip_scaling.laws.synthetic import TRUTHS, draw_runs

CASES = (  # method, truth, deviation of ln E
    ("ols-all", "power", 0.02),
    ("ols-all", "power", 0.1),
    ("loglinear", "loglinear", 0.02),
    ("loglinear", "loglinear", 0.1),
    ("power-floor", "power-floor", 0.02),
    ("power-floor", "power-floor", 0.05),
    ("frontier-ols", "power", 0.02),
    ("frontier-ols", "power", 0.1),
    ("binned-min-5", "power", 0.02),
    ("binned-min-5", "power", 0.1),
    ("frontier-ols", "loglinear", 0.02),
    ("frontier-ols", "loglinear", 0.1),
    ("binned-min-5", "loglinear", 0.02),
    ("binned-min-5", "loglinear", 0.1),
)
AHEAD = {"compute": 1e13, "gmacs": 290.74, "samples": 34e9, "unique": 2.32e9}  # One new run, beyond the grid.


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grids", type=int, default=1000)
    parser.add_argument("--draws", type=int, default=1000, help="of the bootstrap, where a method needs one")
    parser.add_argument("--methods", nargs="*", help="only these")
    args = parser.parse_args()
    print("| method | truth | deviation | parameter | covered | median width | not identified |")
    print("|---|---|---|---|---|---|---|")
    for name, truth, deviation in CASES:
        if not args.methods or name in args.methods:
            for row in coverage(name, truth, deviation, args.grids, args.draws):
                print("| " + " | ".join(row) + " |", flush=True)


def coverage(name: str, truth_name: str, deviation: float, grids: int, draws: int) -> list[list[str]]:
    method, truth = find_method(name), TRUTHS[truth_name]
    generator = np.random.default_rng(0)
    ends: dict[str, list[tuple[float, float]]] = defaultdict(list)
    held = []
    ahead = {factor: np.array([AHEAD[factor]]) for factor in method.law.factors}
    new_error = truth.error(*(np.array([AHEAD[f]]) for f in ("compute", "gmacs", "samples", "unique")))
    for _ in range(grids):
        law = fit_runs(draw_runs(truth, deviation, generator), method, draws=draws)
        for parameter, interval in law.intervals.items():
            ends[parameter].append(interval)
        _, low, high = law.predict(0.9, **ahead)
        measured = new_error * np.exp(deviation * generator.standard_normal())
        held.append(low <= measured <= high)
    rows = []
    for parameter, value in true_parameters(method, truth_name).items():
        low, high = np.array(ends[parameter]).T
        covered = ((low <= value) & (value <= high)).mean()
        missing = 1 - len(low) / grids
        numbers = [f"{covered:.3f}", f"{np.median(high - low):.4f}", f"{missing:.3f}"]
        rows.append([name, truth_name, f"{deviation}", parameter, *numbers])
    return [*rows, [name, truth_name, f"{deviation}", "new run (90 %)", f"{np.mean(held):.3f}", "", ""]]


def true_parameters(method: Method, truth_name: str) -> Mapping[str, float]:
    """The truth's own parameters; for a power law of other grids, what the method makes of the grid without scatter."""
    truth = TRUTHS[truth_name]
    if method.form != "power" or truth_name == "power":
        return truth.parameters
    exact = fit_runs(draw_runs(truth, 0.0, np.random.default_rng(0)), method, draws=0, intervals=False)
    return {"alpha": exact.parameters["alpha"]}


if __name__ == "__main__":
    main()
