"""How fast laws are fitted, against the ways that people fit them otherwise.

python benchmarks/laws_speed.py

1. One bootstrap (1,000 draws) of a power law with a floor on a grid of 29 runs: ours in one batch, and
   scipy.optimize.curve_fit in a loop from the same start, on the same redrawn grids.
2. One fit of L(N, D) = E + A N^-alpha + B D^-beta to 240 points of known truth (Epoch AI's refit of Chinchilla), by
   Huber's loss of ln L: ours, and the PyPI package `chinchilla` 0.2.0 from grids of starts, where it is
   installed (`pip install chinchilla`). It has no bootstrap.

CPU seconds of this process, and the worst distance from the truth (or from curve_fit) where there is one.
"""

import argparse
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.optimize import OptimizeWarning, curve_fit

from clip_scaling.laws.fits import Fit, fit_runs
from clip_scaling.laws.intervals import redraw, refit
from clip_scaling.laws.methods import find_method
from clip_scaling.laws.runs import Runs
from clip_scaling.laws.synthetic import TRUTHS, Truth, draw_runs

EPOCH = {"E": 1.8169, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3659}  # arXiv 2404.10102


METHOD = find_method("power-floor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=1000)
    args = parser.parse_args()
    runs = draw_runs(TRUTHS["power-floor"], 0.02, np.random.default_rng(0))
    law = fit_runs(runs, METHOD, intervals=False)
    assert law.reference is not None and law.theta is not None
    ones, generator = np.ones(len(runs)), np.random.default_rng(0)
    values = redraw(runs, METHOD, law.reference, law.theta, ones, args.draws, generator).values
    ours, seconds = timed(lambda: our_bootstrap(runs, law, values))
    theirs, loop_seconds = timed(lambda: curve_fit_bootstrap(runs, values))
    print(f"bootstrap of {args.draws} draws, 29 runs, power law with floor (standard deviation of alpha):")
    print(f"  one batch    {seconds:7.2f} s   {np.std(ours):.4f}")
    print(
        f"  curve_fit    {loop_seconds:7.2f} s   {np.nanstd(theirs):.4f}   ({loop_seconds / seconds:.0f} times as long)"
    )
    print("one fit of L(N, D), 240 points (E, A, B, alpha, beta; the truth first):")
    print("  truth        ", "          " + show(EPOCH))
    table = epoch_runs()
    law, seconds = timed(lambda: fit_runs(table, find_method("chinchilla"), draws=0, intervals=False))
    starts = law.optimiser["starts"]
    names = {"E": "floor", "A": "beta_gmacs", "B": "beta_samples", "alpha": "alpha_gmacs", "beta": "alpha_samples"}
    found = {name: abs(law.parameters[key]) for name, key in names.items()}
    print(f"  ours         {seconds:7.2f} s   {show(found)}   {starts} starts, {law.optimiser['agreement']:.0%} agree")
    try:
        import chinchilla  # type: ignore[import-not-found]
    except ImportError:
        print("  chinchilla   not installed")
        return
    for count in (2, 3):
        peer, seconds = timed(lambda count=count: peer_fit(chinchilla, table, count))
        print(f"  chinchilla   {seconds:7.2f} s   {show(peer)}   {count**5} starts")


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    begin = time.process_time()
    result = work()
    return result, time.process_time() - begin


def show(parameters: dict[str, float]) -> str:
    return ", ".join(f"{parameters[name]:.4g}" for name in EPOCH)


def our_bootstrap(runs: Runs, law: Fit, values: np.ndarray) -> np.ndarray:
    assert law.reference is not None and law.theta is not None
    return refit(runs, values, np.ones(len(runs)), METHOD, law.reference, law.theta)[:, 1]


def curve_fit_bootstrap(runs: Runs, grids: np.ndarray) -> list[float]:
    x, y = np.log(runs.compute) - np.log(runs.compute).mean(), np.log(runs.error)

    def model(x: np.ndarray, level: float, alpha: float, floor: float) -> np.ndarray:
        return np.logaddexp(level + alpha * x, floor)

    warnings.simplefilter("ignore", OptimizeWarning)
    start, _ = curve_fit(model, x, y, [np.log(0.3), -0.3, np.log(0.1)])
    alphas = []
    for values in grids:
        try:
            alphas.append(curve_fit(model, x, values, start)[0][1])
        except RuntimeError:  # no convergence within its number of calls
            alphas.append(np.nan)
    return alphas


def epoch_runs() -> Runs:
    truth = Truth(
        lambda c, n, d, u: EPOCH["E"] + EPOCH["A"] * n ** -EPOCH["alpha"] + EPOCH["B"] * d ** -EPOCH["beta"], {}
    )
    generator = np.random.default_rng(0)
    size = np.exp(generator.uniform(np.log(5e7), np.log(1.6e10), 240))
    tokens = np.exp(generator.uniform(np.log(5e8), np.log(3e11), 240))
    runs = draw_runs(truth, 0.004, generator, (size, tokens, np.full(240, np.nan)))
    return replace(runs, metric="loss")


def peer_fit(chinchilla: Any, runs: Runs, count: int) -> dict[str, float]:
    grid = {
        "e": np.linspace(0.0, 1.0, count),
        "a": np.linspace(4.0, 8.0, count),
        "b": np.linspace(5.0, 9.0, count),
        "alpha": np.linspace(0.2, 0.6, count),
        "beta": np.linspace(0.2, 0.6, count),
    }

    def loss(true: np.ndarray, predicted: np.ndarray) -> np.ndarray:
        residual = np.abs(np.log(true) - np.log(predicted))
        return np.where(residual < 1e-3, residual**2 / 2, 1e-3 * (residual - 5e-4)) / 1e-3

    with tempfile.TemporaryDirectory() as folder:
        peer = chinchilla.Chinchilla(folder, param_grid=grid, loss_fn=loss, log_level=50)
        for n, d, error in zip(runs.gmacs, runs.samples, runs.error, strict=True):
            peer.database.append(C=6 * n * d, N=n, D=d, loss=error)
        peer.fit(parallel=False)
        return {name: float(getattr(peer, name)) for name in EPOCH}


if __name__ == "__main__":
    main()
