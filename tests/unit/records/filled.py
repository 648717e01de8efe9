"""Rows of records for tests: what a test does not name is null, empty or zero."""

import types
import typing
from typing import Any, TypeVar

from pydantic import BaseModel

from clip_scaling.records.laws import LawFile, Verdict
from clip_scaling.records.plan import PlanFile, PlannedCell

Model = TypeVar("Model", bound=BaseModel)
EMPTY: dict[Any, Any] = {str: "", int: 0, float: 0.0, bool: False, Verdict: "law"}


def filled(kind: type[Model], /, **given: Any) -> Model:
    """A row with these fields; the others are null where they may be, else empty or zero."""
    values = {
        name: _empty(field.annotation)
        for name, field in kind.model_fields.items()
        if field.is_required() and field.alias not in given
    }
    return kind.model_validate(values | given)


def law_file(target: str = "icons", metric: str = "acc1", **rows: Any) -> LawFile:
    """A law file whose fits and other rows are given."""
    return LawFile(target=target, metric=metric, **{"fits": [], **rows})


def plan_file(hours: dict[str, float]) -> PlanFile:
    """A plan of cells, by the device hours that were planned for each."""
    rows = [filled(PlannedCell, cell=cell, planned_hours=value) for cell, value in hours.items()]
    return filled(PlanFile, rows=rows)


def _empty(annotation: Any) -> Any:
    if annotation in EMPTY:
        return EMPTY[annotation]
    origin = typing.get_origin(annotation)
    if origin is typing.Literal:
        return typing.get_args(annotation)[0]
    if origin in (list, dict):
        return origin()
    if origin in (types.UnionType, typing.Union):
        choices = typing.get_args(annotation)
        return None if type(None) in choices else EMPTY[choices[0]]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return filled(annotation)
    raise TypeError(annotation)
