"""Cells and their names; counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clip_scaling.study.counts import format_count, parse_count
from clip_scaling.study.grid import Cell, steps_for


@pytest.mark.parametrize(
    ("text", "value"),
    [("3K", 3_000), ("80M", 80_000_000), ("12.8B", 12_800_000_000), ("2.56001328B", 2_560_013_280), ("512", 512)],
)
def test_short_counts_are_exact_both_ways(text: str, value: int) -> None:
    assert parse_count(text) == value
    assert format_count(value) == text


@given(st.integers(min_value=1, max_value=10**15))
def test_every_count_survives_its_short_form(value: int) -> None:
    assert parse_count(format_count(value)) == value


@pytest.mark.parametrize("text", ["", "0", "-3K", "3k", "1.5", "0.0001K", "many", "3 KB"])
def test_what_is_no_whole_positive_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="count"):
        parse_count(text)


def test_a_cell_is_named_as_laion_named_the_released_models() -> None:
    cell = Cell("ViT-B-32", "LAION-400M", 13_000_000_000, 0)
    assert cell.name == "Model-ViT-B-32_Data-LAION-400M_Samples-13B_Seed-0"
    assert Cell.parse(cell.name) == cell


def test_a_model_name_may_hold_underscores() -> None:
    cell = Cell("coca_ViT-B-32", "Icons_plain", 1_500, 12)
    assert Cell.parse(cell.name) == cell


@pytest.mark.parametrize("name", ["ViT-B-32", "Model-a_Data-b_Samples-1000_Seed-0", "Model-a_Data-b_Samples-1K_Seed-x"])
def test_a_name_that_is_not_canonical_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"no cell's name|canonical"):
        Cell.parse(name)


def test_a_budget_is_whole_batches_and_never_less_than_asked() -> None:
    assert steps_for(1_000, 256) == 4
    assert steps_for(1_024, 256) == 4
    assert steps_for(1, 256) == 1
