"""Braces are expanded as a shell does; a mistake is refused before a list of places is made of it."""

from __future__ import annotations

import pytest

from clip_scaling.data.sources.braces import expand_braces


def test_braces_expand_as_a_shell_does() -> None:
    assert expand_braces("a-{08..10}.{csv,tsv}") == [
        *("a-08.csv", "a-08.tsv", "a-09.csv", "a-09.tsv", "a-10.csv", "a-10.tsv")
    ]
    assert expand_braces("part-{9..11}") == ["part-9", "part-10", "part-11"]
    assert sorted(expand_braces("{a..c}{0..4..2}")) == ["a0", "a2", "a4", "b0", "b2", "b4", "c0", "c2", "c4"]
    assert expand_braces("{x,y{1..2}}") == ["x", "y1", "x", "y2"]
    assert expand_braces("{00000..00000}.tar") == ["00000.tar"]


@pytest.mark.parametrize("text", ["{00001..00000}.tar", "{c..a}.tar", "{1..0..2}", "x{a,b}{9..8}"])
def test_a_range_that_runs_backwards_is_refused_with_the_one_to_write(text: str) -> None:
    with pytest.raises(ValueError, match=r"runs backwards: write \{"):
        expand_braces(text)


@pytest.mark.parametrize("text", ["{0..99999999999}.tar", "{0..9999}/{0..9999}.tar", "{a,b}{0..999999}"])
def test_a_huge_range_is_refused_before_it_is_expanded(text: str) -> None:
    with pytest.raises(ValueError, match="places are more than 1,000,000"):
        expand_braces(text)


def test_braces_of_a_command_that_are_no_choice_stay_the_shell_s() -> None:
    awk = "pipe:cat {0..1}.tar | awk '{print $1,$2}'"
    assert expand_braces(awk, is_command=True) == [awk.replace("{0..1}", number) for number in "01"]
    assert expand_braces("pipe:cat {a,b}.tar", is_command=True) == ["pipe:cat a.tar", "pipe:cat b.tar"]
