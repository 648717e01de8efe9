"""Tables of laws, written by `gather_laws`: one column, one sense.

An error is 1 - accuracy (or recall), or a loss in nats. A value is in the metric's own sense: an accuracy as a
fraction, or a loss in nats.
"""

from __future__ import annotations

from .base import Column, Table

_TARGET = (
    Column("target", "evaluation set, probe or mean"),
    Column("metric", "clip-benchmark's name, or `contrastive_loss`"),
)
_SOURCE = (*_TARGET, Column("source", "training distribution"))
_METHOD = (*_SOURCE, Column("method", "how the law is fitted: docs/laws.md"))
_COMPUTE = Column("compute_gmacs", "forward compute of a sample x samples seen", "GMAC")
_SAMPLES = Column("samples_seen", "steps x global batch")
_PAIRS = Column("unique_pairs", "pairs of the training data")
_HOLDOUT = Column("holdout_mae", "mean absolute error of the rolling hold-out", "error")

LAWS = Table(
    "tables/laws.csv",
    "One row a law. A number that the data cannot support is empty, and the verdict says why.",
    [
        *_METHOD,
        Column("form", "E = beta C^alpha, or another of docs/laws.md"),
        Column("n_points", "runs that the law is fitted to"),
        Column("alpha", "signed exponent of compute"),
        Column("alpha_low", "lower end of its 95 % interval"),
        Column("alpha_high", "upper end"),
        Column("beta", "error at one GMAC", "error"),
        Column("floor", "error that no compute removes", "error"),
        Column("r2", "explained share of the variance of ln E"),
        Column("holdout_mae_pp", "mean absolute error of the rolling hold-out; empty for a loss", "percentage points"),
        Column("verdict", "`law`, `law, ` with a reservation, or `no law`, each with its reason"),
        _HOLDOUT,
        Column("n_saturated", "runs left out for an error of exactly 0 or 1"),
        Column("n_diverged", "runs left out because they diverged"),
    ],
)
PREDICTIONS = Table(
    "tables/predictions.csv",
    "One row a law and run, or scenario without a run, in the metric's own sense.",
    [
        *_METHOD,
        Column("model", "open_clip's name"),
        _SAMPLES,
        Column("data", "subset"),
        _COMPUTE,
        Column("predicted", "by the law", "value"),
        Column("low", "lower end of the 90 % interval of one more run", "value"),
        Column("high", "upper end", "value"),
        Column("actual", "measured; empty for a scenario without a run", "value"),
    ],
)
METHODS = Table(
    "tables/methods.csv",
    "One row a distribution and method: how well it predicted the dearer runs from the cheaper.",
    [
        Column("source", "training distribution"),
        Column("method", "how laws are fitted"),
        Column("targets", "targets with a law"),
        Column("predictions", "runs that were predicted"),
        Column("holdout_mae_pp", "mean over accuracies and recalls", "percentage points"),
        Column("intervals_held", "share of 90 % intervals, as printed, that held"),
        Column("interval_factor", "median over targets of what intervals were widened by"),
        Column("intervals_held_before", "the same share before widening"),
        Column("chosen", "whether the hold-out names this method"),
    ],
)
COMPARISONS = Table(
    "tables/comparisons.csv",
    "One row a target, pair of distributions and method.",
    [
        *_TARGET,
        Column("first", "training distribution"),
        Column("second", "training distribution"),
        Column("method", "how the laws are fitted"),
        Column("difference", "alpha of the first less that of the second"),
        Column("difference_low", "lower end of its 95 % interval"),
        Column("difference_high", "upper end"),
        Column("significant", "whether the interval excludes 0"),
        Column("crossover_gmacs", "where the two laws cross", "GMAC"),
        Column("crossover_low", "lower end of its interval", "GMAC"),
        Column("crossover_high", "upper end", "GMAC"),
        Column("at_gmacs", "greatest compute that both measured", "GMAC"),
        Column("error_ratio", "error of the first over that of the second, there"),
        Column("error_ratio_low", "lower end of its interval"),
        Column("error_ratio_high", "upper end"),
        Column("better", "the distribution of less error there, if the interval excludes 1"),
        Column("unmatched", "hyper-parameters that may explain a difference"),
        Column("verdict", "what follows, in words"),
    ],
)
SENSITIVITY = Table(
    "tables/sensitivity.csv",
    "One row a target and choice: the exponent under every defensible choice.",
    [
        *_SOURCE,
        Column("left_out", "model that the fit leaves out; empty for none"),
        Column("points", "how points are chosen"),
        Column("scale", "what residuals are taken in"),
        Column("estimator", "how parameters are found"),
        Column("n_points", "runs that the law is fitted to"),
        Column("alpha", "signed exponent of compute"),
    ],
)
LEAVE_OUT = Table(
    "tables/leave_out.csv",
    "One row a method and left-out cell: its error, and the error that the law of the others predicts.",
    [
        *_METHOD,
        Column("chosen", "whether the hold-out over the other runs names this method"),
        _HOLDOUT,
        Column("cell", "left out of the fit"),
        _COMPUTE,
        Column("error", "measured", "error"),
        Column("predicted_error", "by the law of the other models", "error"),
        Column("predicted_error_low", "lower end of its 90 % interval", "error"),
        Column("predicted_error_high", "upper end", "error"),
        Column("difference_pp", "predicted less measured", "percentage points"),
    ],
    earlier={
        "actual": "error",
        "predicted": "predicted_error",
        "low": "predicted_error_low",
        "high": "predicted_error_high",
    },
)
ALLOCATION = Table(
    "tables/allocation.csv",
    "One row a law and budget: model size and samples of least error.",
    [
        *_METHOD,
        _PAIRS,
        Column("compute_gmacs", "the budget", "GMAC"),
        Column("models", "the models whose shapes were looked at"),
        Column("gmacs", "size of the best model, forward pass of one sample", "GMAC"),
        Column("gmacs_low", "lower end of its 95 % interval", "GMAC"),
        Column("gmacs_high", "upper end", "GMAC"),
        Column("samples", "samples seen of the best run"),
        Column("samples_low", "lower end of its 95 % interval"),
        Column("samples_high", "upper end"),
        Column("error", "predicted there", "error"),
        Column("verdict", "whether the optimum lies among what was measured"),
    ],
)
NEXT_CELLS = Table(
    "tables/next_cells.csv",
    "One row a target and candidate, best first: what one more run would take off the exponent's interval.",
    [
        *_METHOD,
        Column("model", "open_clip's name"),
        Column("data", "subset"),
        Column("gmacs_per_sample", "forward compute of one sample", "GMAC"),
        _SAMPLES,
        _PAIRS,
        _COMPUTE,
        Column("half_width_now", "of the 95 % interval of alpha"),
        Column("half_width_then", "with the candidate"),
        Column("shrinkage", "share of the half-width that the candidate takes off"),
        Column("shrinkage_per_gmac", "the same, over its compute", "1/GMAC"),
    ],
)
