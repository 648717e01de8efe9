"""Problems of a study file that pydantic found, in words."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from ...errors import close_matches
from ..config.base import Strict


def explain(problem: Any) -> str:
    """One pydantic error as `place: what is wrong`, with close matches for an unknown key."""
    place = ".".join(str(part) for part in problem["loc"]) or "the study"
    if problem["type"] == "extra_forbidden":
        known = {field for model in _all_models(Strict) for field in model.model_fields}
        return f"{place}: unknown key.{close_matches(str(problem['loc'][-1]), known)}"
    message = problem["msg"].removeprefix("Value error, ")
    return f"{place}: {message} (got {problem['input']!r})" if problem["type"] != "missing" else f"{place}: {message}"


def _all_models(model: type[BaseModel]) -> list[type[BaseModel]]:
    return [model, *(deeper for child in model.__subclasses__() for deeper in _all_models(child))]
