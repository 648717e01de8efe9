"""Scaling laws from a table of measurements: fit, intervals, prediction, comparison, allocation, design.

>>> from clip_scaling.laws import fit
>>> law = fit(table, target="imagenet1k", metric="acc1", method="binned-min-5", source="openclip")  # doctest: +SKIP
>>> law.alpha, law.intervals["alpha"], law.verdict  # doctest: +SKIP
"""

from .allocate import compute_optimal, isoflop_exponent, isoflop_minima
from .compare import Comparison, compare
from .design import next_cells
from .fits import Fit, fit, fit_runs
from .holdout import rolling_holdout
from .methods import METHODS, Method, find_method
from .sensitivity import sensitivity
from .table import Runs, UnfitPoints, select_runs

__all__ = [
    "METHODS",
    "Comparison",
    "Fit",
    "Method",
    "Runs",
    "UnfitPoints",
    "compare",
    "compute_optimal",
    "find_method",
    "fit",
    "fit_runs",
    "isoflop_exponent",
    "isoflop_minima",
    "next_cells",
    "rolling_holdout",
    "select_runs",
    "sensitivity",
]
