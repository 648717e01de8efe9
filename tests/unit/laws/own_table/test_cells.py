"""Cells of text are numbers where their meaning is certain, and else an error with column and line."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from clip_scaling.errors import LawError
from clip_scaling.laws.own_table.cells import Style, numbers


def column(*cells: object) -> pd.Series:
    return pd.Series(cells, index=pd.Index(range(2, 2 + len(cells)), name="line"), dtype=object)


@pytest.mark.parametrize(
    ("cell", "kind", "value"),
    [
        ("13B", "count", 13e9),
        ("400M", "count", 4e8),
        ("1.4T", "count", 1.4e12),
        ("50k", "count", 5e4),
        ("50,000", "count", 5e4),
        ("12,800,000,000", "number", 12.8e9),
        ("1,234.5", "value", 1234.5),
        ("1 000 000", "count", 1e6),
        ("1\u00a0000", "count", 1e3),
        ("1'000'000", "number", 1e6),
        ("63.4%", "value", 0.634),
        ("63,4 %", "value", 0.634),
        ("0,35", "value", 0.35),
        ("1.234,5", "number", 1234.5),
        ("13.000.000.000", "count", 13e9),
        (" 1e9 ", "number", 1e9),
        ("\u22120.5", "number", -0.5),
        (7, "number", 7.0),
    ],
)
def test_a_cell_of_one_meaning_is_read(cell: object, kind: str, value: float) -> None:
    cells = column(cell)
    assert numbers(cells, "x", kind, Style.of(map(str, cells))).iloc[0] == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("cell", ["", "NA", "n/a", "-", "None", None, math.nan, "#N/A"])
def test_what_was_not_measured_is_missing(cell: object) -> None:
    assert math.isnan(numbers(column(cell), "x", "value", Style()).iloc[0])


@pytest.mark.parametrize(
    ("cell", "kind", "said"),
    [
        ("much", "number", "'much' is no number"),
        ("2024-01-01", "count", "'2024-01-01' is no number"),
        ("~13B", "count", "'~13B' is no number"),
        ("1e9 tokens", "count", "is no number"),
        ("13B", "number", "'13B' is a count"),
        ("63%", "count", "'63%' is no plain number"),
        ("2,345", "value", "may be 2345 or 2.345"),
        ("2,345", "number", "may be 2345 or 2.345"),
        (True, "value", "'True' is no number"),
        ([1, 2], "value", "is no number"),
    ],
)
def test_any_other_cell_is_named_with_its_column_and_line(cell: object, kind: str, said: str) -> None:
    with pytest.raises(LawError, match=rf"column 'acc', line 3: .*{said}"):
        numbers(column(None, cell), "acc", kind, Style())


def test_decimal_commas_follow_from_the_column_or_from_the_table() -> None:
    style = Style.of(["0,35", "2,5"])
    assert numbers(column("2,345", "2,5"), "x", "value", style).tolist() == [2.345, 2.5]
    assert numbers(column("2,345"), "x", "value", style).tolist() == [2.345]
    assert numbers(column("50.000"), "x", "count", style).tolist() == [50_000]
    # Fifty, or fifty thousand: a count of a table with decimal commas is asked about.
    with pytest.raises(LawError, match="may be 50000 or 50.000"):
        numbers(column("50,000"), "x", "count", style)
    assert numbers(column("50,000"), "x", "count", Style.of([], ".")).tolist() == [50_000]
    with pytest.raises(LawError, match="column 'x' has decimal points and decimal commas"):
        numbers(column("0,35", "0.4"), "x", "value", style)


def test_dates_and_truth_values_are_no_numbers() -> None:
    for values in (pd.Series([True, False]), pd.Series(pd.to_datetime(["2024-01-01"]))):
        with pytest.raises(LawError, match="column 'x' holds"):
            numbers(values, "x", "number", Style())
