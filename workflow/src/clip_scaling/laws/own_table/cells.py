"""Read numbers from cells of text where their meaning is certain: 13B, 50,000, 63.4%, decimal commas.

What may mean two things is an error with column and line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from ...errors import LawError

MISSING = {"", "na", "n/a", "nan", "null", "none", "-", "--", "\u2013", "\u2014", "?", "#n/a", "nil", "missing"}
COUNTS = {"": 1.0, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
_SPACES = re.compile(r"(?<=\d)[ \u00a0\u2009\u202f'\u2019_](?=\d{3}(?!\d))")
_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.I)
_COMMA = re.compile(r"[+-]?(\d+|[1-9]\d{0,2}(\.\d{3})+),\d+(e[+-]?\d+)?", re.I)
_BY_COMMAS = re.compile(r"[+-]?[1-9]\d{0,2}(,\d{3})+(\.\d+)?")
_BY_POINTS = re.compile(r"[+-]?[1-9]\d{0,2}(\.\d{3})+")


@dataclass(frozen=True)
class Style:
    """What a table's numbers show: decimal points, decimal commas. decimal: the mark, if its owner says which."""

    points: bool = False
    commas: bool = False
    decimal: str = ""

    @classmethod
    def of(cls, cells: Iterable[str], decimal: str = "") -> Style:
        """Read from cells that can mean one thing only."""
        bodies = [_body(cell)[0] for cell in cells]
        return cls(any(map(_has_point, bodies)), any(map(_has_comma, bodies)), decimal)


def numbers(column: pd.Series, name: str, kind: str, style: Style) -> pd.Series:
    """The column as floats, NaN where nothing was measured.

    kind: `count` takes 13B, 400M; `value` takes 63.4%; `number` neither. style: of the whole table.
    LawError with the column's name and the cell's line (the index) where a cell is no number, or could be two.
    """
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_datetime64_any_dtype(column):
        raise LawError(f"column {name!r} holds {column.dtype}, not numbers")
    if pd.api.types.is_numeric_dtype(column):
        return column.astype(float)
    place = column.index.name or "row"
    own = Style.of(map(str, column.dropna()))
    if own.points and own.commas and not style.decimal:
        raise LawError(f"column {name!r} has decimal points and decimal commas", remedy="Write one of them.")
    marks = own if own.points or own.commas else style
    decimal = style.decimal or ("," if marks.commas and not marks.points else "." if marks.points else "")
    # A count of a table whose other columns have decimal commas: 50,000 may be fifty thousand still.
    sure = kind != "count" or own.commas or bool(style.decimal)
    labels = column.index if column.index.name else range(1, len(column) + 1)
    cells = zip(labels, column, strict=True)
    return pd.Series(
        [_number(cell, kind, (decimal, sure), f"column {name!r}, {place} {label}") for label, cell in cells],
        index=column.index,
        dtype=float,
    )


def _number(cell: Any, kind: str, decimal: tuple[str, bool], place: str) -> float:
    """decimal: the mark, and whether a comma that may separate thousands is that mark for sure."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)) or cell is pd.NA:
        return math.nan
    if isinstance(cell, (int, float, np.number)) and not isinstance(cell, (bool, np.bool_)):
        return float(cell)
    text = str(cell).strip()
    if text.lower() in MISSING:
        return math.nan
    body, ending = _body(text)
    if (ending == "%" and kind != "value") or (ending in COUNTS and ending and kind != "count"):
        if ending == "%":
            _refuse(place, text, "is no plain number")
        _refuse(
            place, text, "is a count, and no number of GMAC", "Name its unit, as by --unit gmacs_per_sample=parameters."
        )
    value = _plain(body, kind, decimal, place, text)
    return value * 0.01 if ending == "%" else value * COUNTS[ending]


def _body(text: str) -> tuple[str, str]:
    """A cell without its ending (%, K, M, B, T) and the spaces between its thousands."""
    text = text.strip().replace("\u2212", "-")
    match = re.fullmatch(r"(.*\d[.,]?)\s*(%|[KkMmBbTt])", text)
    text, ending = (match[1], match[2].upper()) if match else (text, "")
    return _SPACES.sub("", text), ending


def _plain(body: str, kind: str, marks: tuple[str, bool], place: str, text: str) -> float:
    decimal, sure = marks
    if _PLAIN.fullmatch(body):
        if decimal == "," and "." in body:
            if not _BY_POINTS.fullmatch(body):
                _refuse(place, text, "has a decimal point, where others have commas")
            return float(body.replace(".", ""))
        return float(body)
    if body.count(".") > 1 and _BY_POINTS.fullmatch(body):
        return float(body.replace(".", ""))
    by_commas, comma = bool(_BY_COMMAS.fullmatch(body)), bool(_COMMA.fullmatch(body))
    if comma and ((decimal == "," and sure) or not by_commas):
        if decimal == ".":
            _refuse(place, text, "has a decimal comma, where others have points")
        return float(body.replace(".", "").replace(",", "."))
    separates = decimal == "." or (kind == "count" and decimal != ",") or not comma
    if by_commas and separates and not (comma and kind == "value"):
        return float(body.replace(",", ""))
    if by_commas:
        _refuse(place, text, f"may be {body.replace(',', '')} or {body.replace(',', '.')}", "Say --decimal . or ,")
    _refuse(place, text, "is no number")


def _has_point(body: str) -> bool:
    """Whether a point in it can only be decimal, or a comma only separate thousands."""
    if _BY_COMMAS.fullmatch(body):
        return body.count(",") > 1 or "." in body
    return bool(_PLAIN.fullmatch(body)) and "." in body and not _BY_POINTS.fullmatch(body)


def _has_comma(body: str) -> bool:
    """Whether a comma in it can only be decimal, or points only separate thousands."""
    if _BY_POINTS.fullmatch(body):
        return body.count(".") > 1
    return bool(_COMMA.fullmatch(body)) and not _BY_COMMAS.fullmatch(body)


def _refuse(place: str, text: str, why: str, remedy: str = "") -> NoReturn:
    remedy = remedy or "It must hold numbers, or nothing where none was measured."
    raise LawError(f"{text!r} {why}", place=place, remedy=remedy)
