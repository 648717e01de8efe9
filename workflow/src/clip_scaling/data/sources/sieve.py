"""Rows of a table that meet one condition after the other; those that leave are counted by reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from .filters import evaluate


class Sieve:
    """table: what is left. dropped: by reason. on_loss: called with the reason and the rows that left for it."""

    def __init__(self, table: pa.Table, on_loss: Callable[[str, pa.Table], None] | None = None) -> None:
        self.table, self.dropped = table, Counter[str]()
        self._on_loss = on_loss

    def keep(self, reason: str, is_met: pa.ChunkedArray | pa.Array) -> None:
        """Leave out rows that do not meet a condition, and, under a reason of their own, those it is null for."""
        for name, is_lost in ((reason, pc.invert(is_met)), (f"{reason}_missing", pc.is_null(is_met))):
            lost = self.table.filter(is_lost)  # null counts as false
            if len(lost):
                self.dropped[name] += len(lost)
                if self._on_loss is not None:
                    self._on_loss(name, lost)
        self.table = self.table.filter(is_met)

    def keep_captions(self, shortest: int, longest: int | None) -> None:
        """Trim the column `caption`; leave out empty ones and those beyond the limits, in characters."""
        place = self.table.column_names.index("caption")
        self.table = self.table.set_column(place, "caption", pc.utf8_trim_whitespace(self.table["caption"]))
        self.keep("no_caption", pc.fill_null(pc.greater(self._caption_characters(), 0), False))
        self.keep("caption_too_short", pc.greater_equal(self._caption_characters(), shortest))
        if longest is not None:
            self.keep("caption_too_long", pc.less_equal(self._caption_characters(), longest))

    def keep_filtered(self, filters: Mapping[str, str]) -> None:
        """Apply conditions by name; beside the table's columns they may name caption_characters and aspect_ratio."""
        for name, condition in filters.items():
            self.keep(f"filter_{name}", evaluate(condition, self._with_derived_columns()))

    def _caption_characters(self) -> pa.ChunkedArray:
        return pc.utf8_length(self.table["caption"])

    def _with_derived_columns(self) -> pa.Table:
        table = self.table.append_column("caption_characters", pc.cast(self._caption_characters(), pa.float64()))
        if {"width", "height"} <= set(table.column_names):
            width, height = (pc.cast(table[name], pa.float64()) for name in ("width", "height"))
            sides = [pick(width, height, skip_nulls=False) for pick in (pc.max_element_wise, pc.min_element_wise)]
            table = table.append_column("aspect_ratio", pc.divide(*sides))
        return table
