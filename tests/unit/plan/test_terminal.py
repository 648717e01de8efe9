"""Tables fit a terminal and keep whole rows in a pipe."""

from __future__ import annotations

from clip_scaling.plan.terminal import table, wrapped

ROWS = [["a-cell-with-a-long-name", "run", "1,024"], ["b", "skip", "8"]]


HEADER = ["cell", "state", "steps"]


def test_a_pipe_gets_one_line_a_row_with_numbers_flush_right() -> None:
    assert table(HEADER, ROWS, right=["steps"], folded=["cell"], optional=["state"]) == [
        "cell                     state  steps",
        "a-cell-with-a-long-name  run    1,024",
        "b                        skip       8",
    ]


def test_a_narrow_terminal_folds_the_named_columns() -> None:
    lines = table(HEADER, ROWS, right=["steps"], folded=["cell"], width=30)
    assert max(map(len, lines)) == 30 and lines[1].endswith("run    1,024")
    assert "".join(line[:17].strip() for line in lines[1:3]) == "a-cell-with-a-long-name"


def test_a_narrower_one_leaves_out_what_is_optional() -> None:
    lines = table(HEADER, ROWS, right=["steps"], folded=["cell"], optional=["state", "steps"], width=23)
    assert lines[0] == "cell              steps" and lines[1] == "a-cell-with-a-lo  1,024"


def test_square_brackets_are_no_markup() -> None:
    assert table(["why"], [["[red] resumes [/red]"]]) == ["why", "[red] resumes [/red]"]


def test_long_sentences_are_broken_between_words() -> None:
    assert wrapped(["one two three", "", "  four"], 8) == ["one two", "  three", "", "  four"]
