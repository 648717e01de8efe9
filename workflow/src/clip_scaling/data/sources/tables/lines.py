"""Which separator and which quotation marks a CSV or TSV has, so that no line is joined to another without a word."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, TextIO, cast

from ....errors import DataError
from .config import TableForm

_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars"}
_LINE_END = re.compile(r"\r\n|\r|\n")
_WIDEST = 16 << 20
"""Characters of a value; a quotation mark that is closed nowhere would take the whole file into memory."""
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True)
class Form:
    """How a CSV or TSV is to be read. rows: lines below the header, or records of them where values hold line breaks.

    broken: rows with a line break in a value.
    """

    separator: str
    is_quoted: bool
    encoding: str
    rows: int
    broken: int = 0


def find_form(path: Path, suffix: str, wanted: set[str], given: TableForm) -> Form:
    """Look through a CSV or TSV. DataError: a column is not there, or quotation marks leave open what a row is."""
    encoding = _encoding(path)
    with _opened(path, encoding) as lines:
        header = next((line for line in lines if line.strip("\r\n")), "")
    separator = _separator(path, suffix, header.rstrip("\r\n"), wanted, given)
    lines_below, has_quotes = _count_lines(path, encoding, separator)
    plain = Form(separator, False, encoding, lines_below)
    if given.quoting == "none" or not has_quotes:
        return plain
    return _quoted_form(path, plain, given)


def _quoted_form(path: Path, plain: Form, given: TableForm) -> Form:
    """Decide whether a file with quotation marks at the beginning of values keeps to the rules of CSV (RFC 4180)."""
    found = _read_strictly(path, plain)
    quoted = Form(plain.separator, True, plain.encoding, found.rows - 1, found.broken)
    if given.quoting == "csv" and found.fault is None:
        return quoted
    if given.quoting == "csv":
        raise DataError(
            f"line {found.fault}: a quotation mark opens a value and does not close it as CSV asks",
            place=str(path),
            remedy="Mend it, or set `quoting: none` in the source: a quotation mark is then a character.",
        )
    if found.fault is not None:
        return plain
    if found.joined is None:
        return quoted
    if plain.separator == "\t":
        return plain
    raise DataError(
        f"line {found.joined}: its quotation mark joins it with the next lines, which look like rows of their own",
        place=str(path),
        remedy="Set `quoting: none` in the source if a quotation mark is a character, `quoting: csv` if it is one row.",
    )


@dataclass(frozen=True)
class _Strict:
    """rows: with the header. fault, joined: numbers of lines, from 1; None for no such line."""

    rows: int
    broken: int
    fault: int | None = None
    joined: int | None = None


def _read_strictly(path: Path, form: Form) -> _Strict:
    """Read as CSV: `fault` where a value does not keep to it, `joined` where a row swallows lines like rows."""
    rows = broken = columns = 0
    joined: int | None = None
    with _opened(path, form.encoding) as lines, _values_up_to(_WIDEST):
        reader = csv.reader(lines, delimiter=form.separator, strict=True)
        before = 0
        try:
            for row in reader:
                rows += bool(row)
                columns = columns or len(row)
                if reader.line_num - before > 1 and row:
                    broken += 1
                    if joined is None and any(_swallows(value, form.separator, columns) for value in row):
                        joined = before + 1
                before = reader.line_num
        except csv.Error:
            return _Strict(rows, broken, fault=before + 1)
    return _Strict(rows, broken, joined=joined)


@contextmanager
def _values_up_to(characters: int) -> Iterator[None]:
    before = csv.field_size_limit(characters)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _swallows(value: str, separator: str, columns: int) -> bool:
    """Whether a line inside a value has the separators of a whole row."""
    return any(part.count(separator) >= max(1, columns - 1) for part in _LINE_END.split(value)[1:])


def _count_lines(path: Path, encoding: str, separator: str) -> tuple[int, bool]:
    """Lines below the header, empty ones not counted; whether a value begins with a quotation mark."""
    count, has_quotes, opening = 0, False, separator + '"'
    with _opened(path, encoding) as lines:
        for line in lines:
            count += line not in ("\n", "\r\n", "\r")
            has_quotes = has_quotes or line.startswith('"') or opening in line
    return max(0, count - 1), has_quotes


def _separator(path: Path, suffix: str, header: str, wanted: set[str], given: TableForm) -> str:
    usual = "\t" if suffix.startswith(".tsv") else ","
    known = [given.mark] if given.mark else [usual, *(mark for mark in _SEPARATORS if mark != usual)]
    names = {mark: names_in(header, mark) for mark in known}
    fitting = [mark for mark in known if wanted <= set(names[mark])]
    if fitting:
        return fitting[0]
    best = max(known, key=lambda mark: (len(wanted & set(names[mark])), len(names[mark])))
    missing = sorted(wanted - set(names[best]))
    by = f" by {_SEPARATORS.get(best, best)}"
    raise DataError(
        f"no column {', '.join(missing)}. Its first line has{by if len(names[best]) > 1 else ''}: "
        f"{', '.join(names[best])[:500]}",
        place=str(path),
        remedy="Correct `columns` in the source; a table without a line of names needs one.",
    )


def names_in(header: str, separator: str) -> list[str]:
    """Names of the columns in a header without its line break."""
    return next(csv.reader([header], delimiter=separator), [])


def _encoding(path: Path) -> str:
    with _bytes_of(path) as file:
        return "utf-16" if file.read(2) in _UTF16 else "utf-8-sig"


@contextmanager
def _opened(path: Path, encoding: str) -> Iterator[TextIO]:
    """Open a table's lines with their ends; what is not of the encoding is kept as it is."""
    with _bytes_of(path) as file, io.TextIOWrapper(file, encoding, "surrogateescape", newline="") as lines:
        yield lines


def _bytes_of(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path, "rb") if path.name.endswith(".gz") else open(path, "rb"))
