"""Read a table of results from a file: separators, encodings and compression as people have them.

Cells of a CSV stay text, for `cells.py` to read; its index is the line in the file, named `line`.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

from ...errors import LawError

SEPARATORS = (",", ";", "\t", "|")
_OPENERS: dict[str, Callable[[Path], bytes]] = {
    ".gz": lambda path: gzip.decompress(path.read_bytes()),
    ".bz2": lambda path: bz2.decompress(path.read_bytes()),
    ".xz": lambda path: lzma.decompress(path.read_bytes()),
}
_OTHERS = {".xlsx": "an Excel file", ".xls": "an Excel file", ".ods": "a spreadsheet", ".json": "JSON"}
_LOOKED_AT = 50  # Lines that a separator is chosen by.


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV (separated by comma, semicolon, tab or |; UTF-8 or UTF-16; perhaps compressed) or a Parquet table.

    Returns text cells under stripped column names, or Parquet's own types. LawError where the file is none of these, a
    line has another number of fields than the header, or there are no rows.
    """
    if path.is_dir():
        raise LawError("a folder, not a table", place=str(path), remedy="Name the CSV or Parquet file in it.")
    if not path.is_file():
        raise LawError(f"{path}: no such file.")
    if path.suffix.lower() in _OTHERS:
        raise LawError(
            f"{_OTHERS[path.suffix.lower()]} is not read here", place=str(path), remedy="Save it as CSV or Parquet."
        )
    table = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_text(path)
    if not len(table):
        raise LawError("the table has no rows", place=str(path), remedy="It needs one row a run under its header.")
    return table


def _read_parquet(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except Exception as error:  # pandas reads metadata of its own, and meets whatever the damage leads it to
        raise LawError(f"cannot be read as Parquet ({error})", place=str(path)) from None
    table = table.reset_index(drop=True).rename(columns=str)
    table.index = pd.RangeIndex(1, len(table) + 1, name="row")
    return table


def _read_text(path: Path) -> pd.DataFrame:
    text = _decoded(path)
    if text.startswith("sep=") and "\n" in text:  # Excel's own first line, and the only one that it reads back.
        first, text = text.split("\n", 1)
        separator, begin = first.strip()[4:5] or "\t", 2
    else:
        separator, begin = _separator(text), 1
    rows = list(_rows(path, text, separator, begin))
    if not rows:
        return pd.DataFrame()
    (_, header), *body = rows
    names = _names(header)
    for line, cells in body:
        if len(cells) < len(names) or any(cell.strip() for cell in cells[len(names) :]):
            raise LawError(
                f"line {line} has {len(cells)} fields, the header {len(names)}",
                place=str(path),
                remedy="Quote cells that hold the separator, and give each line all fields.",
            )
    table = pd.DataFrame([cells[: len(names)] for _, cells in body], columns=names, dtype=object)
    table.index = pd.Index([line for line, _ in body], name="line")
    table.attrs["separator"] = separator
    return table


def _decoded(path: Path) -> str:
    try:
        content = _OPENERS.get(path.suffix.lower(), Path.read_bytes)(path)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise LawError(f"cannot be read ({error})", place=str(path)) from None
    try:
        return content.decode(_encoding(content))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise LawError(
            f"line {line} is not UTF-8", place=str(path), remedy="Save the table as UTF-8, or as UTF-16 with its mark."
        ) from None


def _encoding(content: bytes) -> str:
    """By the byte order mark; else UTF-16 where every other byte of the beginning is zero; else UTF-8."""
    if content.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    head = content[:400]
    if len(head) > 3 and head[1::2].count(0) > 0.7 * len(head[1::2]):
        return "utf-16-le"
    if len(head) > 3 and head[::2].count(0) > 0.7 * len(head[::2]):
        return "utf-16-be"
    return "utf-8-sig"


def _rows(path: Path, text: str, separator: str, begin: int) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each line that is not empty. A row of several lines is at its first."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    line = begin
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = begin + reader.line_num
    except csv.Error as error:
        raise LawError(f"line {line}: cannot be read as CSV ({error})", place=str(path)) from None


def _separator(text: str) -> str:
    """The separator by which the first lines have equally many fields, and the most of them."""
    lines = text.splitlines()[:_LOOKED_AT]
    found = ","
    most = (False, 1)
    for separator in SEPARATORS:
        try:
            counts = [len(cells) for cells in csv.reader(lines, delimiter=separator) if cells]
        except csv.Error:
            continue
        if counts and counts[0] > 1 and (len(set(counts)) == 1, counts[0]) > most:
            most, found = (len(set(counts)) == 1, counts[0]), separator
    return found


def _names(header: list[str]) -> list[str]:
    """Stripped names; an empty one by its place, a repeated one with its number."""
    while len(header) > 1 and not header[-1].strip():
        header = header[:-1]
    seen: Counter[str] = Counter()
    names = []
    for place, name in enumerate(header, 1):
        name = name.strip() or f"column {place}"
        seen[name] += 1
        names.append(name if seen[name] == 1 else f"{name} ({seen[name]})")
    return names
