"""Names and counts as study files write them, and the model that refuses unknown keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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
