"""Scaling laws from a table of measurements: fit, intervals, prediction, comparison, design.

>>> from clip_scaling.laws import fit
>>> law = fit(table, target="imagenet1k", metric="acc1", method="binned-min-5", source="openclip")  # doctest: +SKIP
>>> law.alpha, law.intervals["alpha"], law.verdict  # doctest: +SKIP
"""

from .fits import Fit, fit
from .methods import METHODS, Method
from .table import Runs, UnfitPoints, select_runs

__all__ = ["METHODS", "Fit", "Method", "Runs", "UnfitPoints", "fit", "select_runs"]
