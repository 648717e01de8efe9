"""Tables for a terminal, and for a pipe or a file that has no width."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Collection, Sequence
from io import StringIO

from rich.console import Console
from rich.table import Table

UNBOUNDED = 10_000
"""Columns of a pipe: no line is broken there, so that `grep` and `awk` find whole rows."""
FOLDED_WIDTH = 16
"""A folded column is no narrower."""


def terminal_width() -> int:
    """Columns of the terminal that standard output goes to; UNBOUNDED for a pipe or a file."""
    return Console().width if sys.stdout.isatty() else UNBOUNDED


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    right: Collection[str] = (),
    folded: Collection[str] = (),
    optional: Sequence[str] = (),
    width: int = UNBOUNDED,
) -> list[str]:
    """Lines of a table without a frame.

    right: columns set flush right. folded: columns whose cells may be broken over several lines where the table is
    wider than `width`. optional: columns that are left out where even that does not fit, in this order.
    """
    names = list(header)
    for name in optional:
        if _least_width(names, header, rows, folded) > width:
            names.remove(name)
    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="")
    for name in names:
        least = FOLDED_WIDTH if name in folded else None
        grid.add_column(name, justify="right" if name in right else "left", no_wrap=name not in folded,
                        overflow="fold", min_width=least)  # fmt: skip
    places = [list(header).index(name) for name in names]
    for row in rows:
        grid.add_row(*(row[place] for place in places))
    text = StringIO()
    Console(file=text, width=width, markup=False, highlight=False, emoji=False).print(grid)
    return [line.rstrip() for line in text.getvalue().splitlines()]


def _least_width(
    names: Sequence[str], header: Sequence[str], rows: Sequence[Sequence[str]], folded: Collection[str]
) -> int:
    """Columns that a table of these columns takes where folded cells are as narrow as they may be."""
    widths = {name: max(len(line[i]) for line in [header, *rows]) for i, name in enumerate(header)}
    return sum(2 + (min(widths[name], FOLDED_WIDTH) if name in folded else widths[name]) for name in names) - 2


def wrapped(lines: Sequence[str], width: int) -> list[str]:
    """The same lines, those longer than `width` broken between words."""
    return [part for line in lines for part in textwrap.wrap(line, width, subsequent_indent="  ") or [line]]
