"""Settings of how a table of pairs is read."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from ....study.config.base import Strict
from ..base import TrackedLater

SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")


class TableForm(Strict):
    """Choices that a table leaves open; the defaults follow from the table itself."""

    separator: TrackedLater[str | None] = Field(
        None,
        description="`tab`, or the character between the values of a CSV or TSV; null: that of tab, comma, semicolon "
        "and | which shows the wanted columns in the first line",
    )
    quoting: TrackedLater[Literal["auto", "csv", "none"]] = Field(
        "auto",
        description="csv: a value that begins with a quotation mark may hold separators and line breaks; none: a "
        "quotation mark is a character; auto: csv where the whole file keeps to its rules, else none",
    )
    list_of_captions: TrackedLater[Literal["each", "first"]] = Field(
        "each", description="where a parquet holds lists of captions: a pair for each caption, or for the first"
    )

    @field_validator("separator")
    @classmethod
    def _is_one_character(cls, value: str | None) -> str | None:
        if value is not None and value != "tab" and (len(value) != 1 or value in '"\r\n'):
            raise ValueError("`tab`, or one character that is no quotation mark or line break")
        return value

    @property
    def mark(self) -> str | None:
        """The separator as a character."""
        return "\t" if self.separator == "tab" else self.separator
