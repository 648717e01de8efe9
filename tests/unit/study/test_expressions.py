"""Conditions on metadata columns: what may be written."""

import pytest

from clip_scaling.study.config.expressions import columns_of, parse_expression


def test_the_columns_of_a_condition_are_its_names_without_the_functions() -> None:
    assert columns_of("length(caption) > 5 and (similarity >= 0.3 or not language in ['en', 'de'])") == {
        *("caption", "similarity", "language")
    }


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("similarity >", "no expression"),
        ("__import__('os').system('true') == 0", "none of length"),
        ("open('x') == 1", "none of length"),
        ("url.format == 1", "not known here"),
        ("[x for x in y] == 1", "not known here"),
        ("(lambda: 1) == 1", "not known here"),
        ("similarity ** 2 > 1", "not known here"),
        ("language in other", "after `in` comes a list"),
        ("similarity + 1", "no condition"),
        ("similarity == None", "neither a number nor a text"),
        ("larger(width) > 1", "none of length"),
    ],
)
def test_what_is_no_condition_on_columns_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        parse_expression(text)
