"""A method is a choice of points, a form, an error scale and an estimator; the names that tables use are here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from ..errors import LawError
from ..records.law_methods import FOR_ALLOCATION, method_problem
from .forms import FORMS, Form, LogLinear
from .points import Choose, all_points, binned_minimum, frontier, hull
from .scales import SCALES, Scale

POINTS: dict[str, Choose] = {
    "all": all_points,
    "frontier": frontier,
    "binned-min-5": binned_minimum,
    "binned-min-5-own": partial(binned_minimum, at_centre=False),
    "hull": hull,
}
ESTIMATORS = ("ols", "huber")


@dataclass(frozen=True)
class Method:
    """One way to fit a law. Each part is a key of POINTS, FORMS, SCALES, ESTIMATORS."""

    name: str
    points: str = "all"
    form: str = "power"
    scale: str = "log"
    estimator: str = "ols"

    @property
    def choose(self) -> Choose:
        return POINTS[self.points]

    @property
    def law(self) -> Form:
        return FORMS[self.form]

    @property
    def axis(self) -> Scale:
        return SCALES[self.scale]

    @property
    def interval(self) -> str:
        """Where the intervals come from: Student's t where it is exact, else the profile, else the bootstrap.

        Chosen points are order statistics and Huber's loss no sum of squares: both need the bootstrap.
        """
        return "bootstrap" if self.points != "all" or self.estimator == "huber" else self.interval_of_all

    @property
    def interval_of_all(self) -> str:
        """The same, had the points not been chosen."""
        return "t" if isinstance(self.law, LogLinear) and self.scale != "logit" else "profile"


METHODS = {
    method.name: method
    for method in (
        Method("binned-min-5", points="binned-min-5"),
        Method("binned-min-5-own", points="binned-min-5-own"),
        Method("ols-all"),
        Method("ols-seeds", scale="seeds"),
        Method("frontier-ols", points="frontier"),
        Method("hull-ols", points="hull"),
        Method("loglinear", form="loglinear"),
        Method("loglinear-logit", form="loglinear", scale="logit"),
        Method("power-floor", form="power-floor"),
        Method("shifted", form="shifted"),
        Method("shifted-floor", form="shifted-floor"),
        Method("additive", form="additive"),
        Method("data-constrained", form="data-constrained"),
        Method("chinchilla", form="chinchilla", estimator="huber"),
    )
}


# Least squares, for allocation: Huber's loss takes a search a draw. No part of the comparison of METHODS.
CHINCHILLA_OLS = Method(FOR_ALLOCATION, form="chinchilla")


def find_method(name: str) -> Method:
    """A method by its name in METHODS, or composed as `points/form/scale/estimator`, such as `hull/power/log/ols`."""
    if name in METHODS:
        return METHODS[name]
    if name == CHINCHILLA_OLS.name:
        return CHINCHILLA_OLS
    if problem := method_problem(name):
        raise LawError(problem)
    return Method(name, *name.split("/"))
