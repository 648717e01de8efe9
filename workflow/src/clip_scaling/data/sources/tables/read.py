"""Read tables of pairs (parquet, CSV, TSV): every row of the file is a row here, or more where it lists captions."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ....errors import DataError
from .config import TableForm
from .lines import Form, find_form

log = logging.getLogger(__name__)
PLACES, CAPTION = ("url", "image"), "caption"
_TEXT = (*PLACES, CAPTION, "sha256")
"""Our names of columns that are read as text, whatever they look like."""
_BLOCK_BYTES = 16 << 20
"""No value of a CSV is longer."""
_EMBEDDED_ROWS = 64


@dataclass(frozen=True)
class ReadTable:
    """table: the wanted columns under our names, text where it must be text. problem: of each row, "" or a reason.

    row: (rows,) number in the file of the row that each came from. images: of tables that hold images themselves.
    """

    table: pa.Table
    problem: pa.Array
    row: NDArray[np.int64]
    images: list[Embedded] | None = None


@dataclass(frozen=True)
class Embedded:
    """An image in a table. path: its name there, if any. at: (offset, bytes) in the file of images; None: not there.

    sha256: of its bytes.
    """

    path: str | None
    at: tuple[int, int] | None
    sha256: str = ""


def read_table(
    path: Path, suffix: str, columns: dict[str, str], form: TableForm, images: BinaryIO | None = None
) -> ReadTable:
    """Read the named columns of a table. columns: our name: the table's name.

    images: takes the images of a table that holds them; None: `url` and `image` must be text.
    DataError: a column is missing or holds something else, or the file cannot be read as what its name says.
    """
    try:
        if suffix == ".parquet":
            table, embedded = _read_parquet(path, columns, images)
        else:
            table, embedded = _read_lines(path, suffix, columns, form), None
    except FileNotFoundError:
        raise DataError("no such list", place=str(path), remedy="Correct its place in the source.") from None
    except (pa.ArrowException, OSError, EOFError, UnicodeError) as error:
        raise DataError(f"not a readable {suffix} file ({error})", place=str(path), remedy=_remedy(suffix)) from None
    return _as_text(path, table, columns, form, embedded)


def joined(parts: Sequence[ReadTable]) -> ReadTable:
    """The rows of several files of one table, one after the other. DataError where their columns do not go together."""
    if len(parts) == 1:
        return parts[0]
    try:
        table = pa.concat_tables([part.table for part in parts], promote_options="permissive")
    except pa.ArrowException as error:
        raise DataError(f"the files of the table differ in a column ({error})", remedy="Correct them.") from None
    starts = np.cumsum([0, *(int(part.row.max(initial=-1)) + 1 for part in parts)])
    rows = np.concatenate([part.row + start for part, start in zip(parts, starts, strict=False)])
    images = None
    if any(part.images is not None for part in parts):
        images = [image for part in parts for image in part.images or _named(part)]
    return ReadTable(table, pa.concat_arrays([part.problem for part in parts]), rows, images)


def _named(part: ReadTable) -> list[Embedded]:
    return [Embedded(path, None) for path in part.table["image"].to_pylist()]


def _remedy(suffix: str) -> str:
    if suffix == ".parquet":
        return "Get it again."
    return "Each line needs the values of the first one: correct it, or `separator` and `quoting` in the source."


def _read_lines(path: Path, suffix: str, columns: dict[str, str], given: TableForm) -> pa.Table:
    form = find_form(path, suffix, set(columns.values()), given)
    text = {columns[name]: pa.binary() for name in _TEXT if name in columns}
    table = pa_csv.read_csv(
        path,
        read_options=pa_csv.ReadOptions(block_size=_BLOCK_BYTES, encoding=form.encoding.removesuffix("-sig")),
        parse_options=_parse_options(form),
        convert_options=pa_csv.ConvertOptions(include_columns=list(dict.fromkeys(columns.values())), column_types=text),
    )
    log.info(
        "table=%s separator=%r quotes=%s rows=%d rows_with_line_breaks=%d",
        path.name,
        form.separator,
        form.is_quoted,
        len(table),
        form.broken,
    )
    if len(table) != form.rows:
        raise DataError(
            f"{len(table)} rows were read of {form.rows}",
            place=str(path),
            remedy="Set `quoting` and `separator` in the source.",
        )
    return pa.table({name: table[column] for name, column in columns.items()})


def _parse_options(form: Form) -> pa_csv.ParseOptions:
    if form.is_quoted:
        return pa_csv.ParseOptions(delimiter=form.separator, newlines_in_values=form.broken > 0)
    return pa_csv.ParseOptions(delimiter=form.separator, quote_char=False, double_quote=False)


def _read_parquet(
    path: Path, columns: dict[str, str], images: BinaryIO | None
) -> tuple[pa.Table, list[Embedded] | None]:
    schema = pq.read_schema(path)
    if missing := sorted(set(columns.values()) - set(schema.names)):
        raise DataError(
            f"no column {', '.join(missing)}. It has {', '.join(schema.names)[:500]}",
            place=str(path),
            remedy="Correct `columns` in the source.",
        )
    held = columns.get("image", "")
    is_embedded = images is not None and held != "" and _holds_images(schema.field(held).type)
    wanted = [column for column in dict.fromkeys(columns.values()) if not (is_embedded and column == held)]
    table = pq.read_table(path, columns=wanted)
    embedded = None
    if is_embedded:
        assert images is not None
        embedded = list(_spool(path, held, images))
        table = table.append_column(held, pa.array([image.path for image in embedded], pa.string()))
    return pa.table({name: table[column] for name, column in columns.items()}), embedded


def _holds_images(kind: pa.DataType) -> bool:
    """Whether a column holds encoded images: bytes, or Hugging Face's struct of bytes and path."""
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type)
    return _is_bytes(kind)


def _spool(path: Path, column: str, images: BinaryIO) -> Iterator[Embedded]:
    """Write a column's images one after the other."""
    for batch in pq.ParquetFile(path).iter_batches(_EMBEDDED_ROWS, columns=[column]):
        for value in batch.column(0).to_pylist():
            found = value if isinstance(value, dict) else {"bytes": value}
            content, name = found.get("bytes"), found.get("path")
            called = name if isinstance(name, str) else None
            if content is None:
                yield Embedded(called, None)
            else:
                yield Embedded(called, (images.tell(), len(content)), hashlib.sha256(content).hexdigest())
                images.write(content)


def _as_text(
    path: Path, table: pa.Table, columns: dict[str, str], form: TableForm, embedded: list[Embedded] | None
) -> ReadTable:
    """Make text of what must be text, and a row of each caption in a list."""
    row = np.arange(len(table))
    captions = table[CAPTION].type if CAPTION in columns else None
    if captions is not None and _is_list(captions):
        lists = [list(found or [None]) for found in table[CAPTION].to_pylist()]
        lists = [found[:1] if form.list_of_captions == "first" else found for found in lists]
        row = np.repeat(row, [len(found) for found in lists])
        flat = pa.array([caption for found in lists for caption in found], captions.value_type)
        table = table.take(pa.array(row)).set_column(
            table.column_names.index(CAPTION), CAPTION, pa.chunked_array([flat])
        )
        embedded = None if embedded is None else [embedded[number] for number in row.tolist()]
    problem = np.full(len(table), "", dtype=object)
    for name in _TEXT:
        if name in columns:
            text, is_bad = _text_column(path, table[name], columns[name], name)
            table = table.set_column(table.column_names.index(name), name, text)
            reason = "caption_not_utf8" if name == CAPTION else "path_not_utf8"
            problem[is_bad & (problem == "")] = reason
    return ReadTable(table, pa.array(problem.tolist(), pa.string()), row, embedded)


def _text_column(
    path: Path, column: pa.ChunkedArray, name: str, ours: str
) -> tuple[pa.ChunkedArray, NDArray[np.bool_]]:
    """A column as text, and a mask of the rows that are no UTF-8. DataError where it holds something else."""
    kind = column.type
    is_good = np.zeros(len(column), np.bool_)
    if pa.types.is_null(kind) or _is_text(kind):
        return pc.cast(column, pa.string()), is_good
    if not _is_bytes(kind):
        wanted = {CAPTION: "texts or lists of texts", "image": "paths or images"}.get(ours, "texts")
        raise DataError(
            f"column {name} holds {_said(kind)}, not {wanted}",
            place=str(path),
            remedy=f"Correct `columns.{ours}` in the source, or write that column as {wanted}.",
        )
    try:
        return pc.cast(column, pa.string()), is_good
    except pa.ArrowInvalid:
        values = column.to_pylist()
        texts = [None if value is None else value.decode("utf-8", "backslashreplace") for value in values]
        is_bad = np.array([value is not None and not _is_utf8(value) for value in values], np.bool_)
        return pa.chunked_array([pa.array(texts, pa.string())]), is_bad


def _said(kind: pa.DataType) -> str:
    return str(kind) if len(str(kind)) < 200 else f"{str(kind)[:200]}..."


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def _is_bytes(kind: pa.DataType) -> bool:
    checks: Any = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_fixed_size_binary,
        pa.types.is_binary_view,
    )
    return any(check(kind) for check in checks)


def _is_list(kind: pa.DataType) -> bool:
    checks: Any = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in checks)
