"""Names of the methods that laws are fitted by: a study file is checked by them before anything slow is loaded."""

from __future__ import annotations

import difflib

NAMED = (
    "binned-min-5", "binned-min-5-own", "ols-all", "ols-seeds", "frontier-ols", "hull-ols", "loglinear",
    "loglinear-logit", "power-floor", "shifted", "shifted-floor", "additive", "data-constrained", "chinchilla",
)  # fmt: skip
FOR_ALLOCATION = "chinchilla-ols"
"""Least squares, which allocation redraws in a batch; no part of comparisons between the methods."""
PARTS = {
    "points": ("all", "frontier", "binned-min-5", "binned-min-5-own", "hull"),
    "form": (
        "power", "loglinear", "power-floor", "shifted", "shifted-floor", "additive", "chinchilla", "data-constrained",
    ),
    "scale": ("log", "logit", "binomial", "seeds"),
    "estimator": ("ols", "huber"),
}  # fmt: skip

_OF_SEVERAL = {"loglinear", "loglinear-logit", "additive", "chinchilla", "data-constrained", FOR_ALLOCATION}


def is_of_compute(name: str) -> bool:
    """Whether a known method's law is of compute alone, and can be drawn against it."""
    return not _OF_SEVERAL & ({name} if "/" not in name else {name.split("/")[1]})


def method_problem(name: str) -> str:
    """What is wrong with a method's name, or with one composed as points/form/scale/estimator; "" where nothing is."""
    if name in (*NAMED, FOR_ALLOCATION):
        return ""
    parts = name.split("/")
    if len(parts) != len(PARTS):
        close = difflib.get_close_matches(name, NAMED, n=3) or list(NAMED)
        return (
            f"method: {name!r} is not known. Close matches: {', '.join(close)}. "
            "Or compose one as points/form/scale/estimator, for example frontier/power/log/ols."
        )
    wrong = [(part, valid) for part, valid in zip(parts, PARTS.values(), strict=True) if part not in valid]
    return "".join(f"method {name!r}: {part!r} is none of {', '.join(valid)}." for part, valid in wrong[:1])
