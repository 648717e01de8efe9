"""Scaling laws from a table of measurements: fit, intervals, prediction, comparison, allocation, design.

>>> from clip_scaling.laws import fit
>>> law = fit(table, target="imagenet1k", metric="acc1", method="binned-min-5", source="openclip")  # doctest: +SKIP
>>> law.alpha, law.intervals["alpha"], law.verdict  # doctest: +SKIP
"""

from ..records.laws import Comparison
from .allocate import compute_optimal
from .compare import compare
from .design import candidate_cells, next_cells
from .fits import Fit, fit, fit_runs
from .holdout import rolling_holdout
from .isoflop import isoflop_exponent, isoflop_minima, isoflop_optima
from .methods import METHODS, Method, find_method
from .runs import Runs, UnfitPoints, select_runs
from .sensitivity import sensitivity

__all__ = [
    "METHODS",
    "Comparison",
    "Fit",
    "Method",
    "Runs",
    "UnfitPoints",
    "candidate_cells",
    "compare",
    "compute_optimal",
    "find_method",
    "fit",
    "fit_runs",
    "isoflop_exponent",
    "isoflop_minima",
    "isoflop_optima",
    "next_cells",
    "rolling_holdout",
    "select_runs",
    "sensitivity",
]
