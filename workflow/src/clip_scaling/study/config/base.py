"""Names and counts as study files write them, and the model that refuses unknown keys."""

from __future__ import annotations

from typing import Annotated, Any, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from ..counts import parse_count
from ..grid import SEPARATORS

Count = Annotated[int, BeforeValidator(parse_count), Field(gt=0, examples=["50K"])]


def _check_name(name: str) -> str:
    """Names become path components and parts of a cell's id."""
    allowed = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
    if not name or not set(name) <= allowed or name[0] in ".-_" or any(part in name for part in SEPARATORS):
        raise ValueError(
            f"{name!r} is no valid name: letters, digits, '.', '-' and '_' only, none of {', '.join(SEPARATORS)} inside"
        )
    return name


Name = Annotated[str, AfterValidator(_check_name)]


def _check_set_name(name: str) -> str:
    """Names of sets as clip-benchmark and the paper have them: `vtab/flowers`, `vtab+`."""
    for part in name.split("/"):
        _check_name(part.rstrip("+"))
    return name


SetName = Annotated[str, AfterValidator(_check_set_name)]


class Strict(BaseModel):
    """Unknown keys are refused: a typo must not be planned."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_number_is_a_truth_value(cls, raw: Any) -> Any:
        """YAML reads `no` and `off` as false, which would pass for 0."""
        for name, value in raw.items() if isinstance(raw, dict) else ():
            known = cls.model_fields.get(name)
            if isinstance(value, bool) and known is not None and _kinds(known.annotation) & {int, float}:
                raise ValueError(f"{name}: YAML reads this as {str(value).lower()}. Write a number")
        return raw


def _kinds(annotation: Any) -> set[Any]:
    """The plain types of an annotation that takes numbers; none where it takes truth values as well."""
    parts = get_args(annotation)
    found = set().union(*map(_kinds, parts)) if parts else {annotation}
    return set() if bool in found or True in found else found
