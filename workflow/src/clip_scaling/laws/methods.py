"""A method is a choice of points, a form, an error scale and an estimator; the names that tables use are here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import partial

from ..errors import LawError
from .forms import FORMS, Form
from .points import Points, all_points, binned_minimum, frontier, hull

POINTS: dict[str, Points] = {
    "all": all_points,
    "frontier": frontier,
    "binned-min-5": binned_minimum,
    "binned-min-5-own": partial(binned_minimum, at_centre=False),
    "hull": hull,
}
SCALES = ("log",)
ESTIMATORS = ("ols",)


@dataclass(frozen=True)
class Method:
    """One way to fit a law. Each part is a key of POINTS, FORMS, SCALES, ESTIMATORS."""

    name: str
    points: str = "all"
    form: str = "power"
    scale: str = "log"
    estimator: str = "ols"

    @property
    def choose(self) -> Points:
        return POINTS[self.points]

    @property
    def law(self) -> Form:
        return FORMS[self.form]


METHODS = {
    method.name: method
    for method in (
        Method("binned-min-5", points="binned-min-5"),
        Method("binned-min-5-own", points="binned-min-5-own"),
        Method("ols-all"),
        Method("frontier-ols", points="frontier"),
        Method("hull-ols", points="hull"),
        Method("loglinear", form="loglinear"),
    )
}


def find_method(name: str) -> Method:
    """A method by its name in METHODS, or composed as `points/form/scale/estimator`, such as `hull/power/log/ols`."""
    if name in METHODS:
        return METHODS[name]
    parts = name.split("/")
    known = (POINTS, FORMS, SCALES, ESTIMATORS)
    if len(parts) != 4:
        close = difflib.get_close_matches(name, METHODS, n=3) or list(METHODS)
        raise LawError(
            f"method: {name!r} is not known. Close matches: {', '.join(close)}. "
            "Or compose one as points/form/scale/estimator, for example frontier/power/log/ols."
        )
    for part, valid in zip(parts, known, strict=True):
        if part not in valid:
            raise LawError(f"method {name!r}: {part!r} is none of {', '.join(valid)}.")
    return Method(name, *parts)
