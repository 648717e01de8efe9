"""One list of URLs and captions: read, given our column names, filtered; every row that leaves is counted by reason."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ....errors import DataError
from ..filters import evaluate
from ..pairs import hash_order
from ..sieve import Sieve
from .config import UrlListSource
from .removal import RemovalList

_TEXT = ("url", "image", "caption", "sha256")
"""Columns that are read as text, whatever they look like."""


@dataclass(frozen=True)
class WantedRows:
    """rows: number in the list. dropped: by reason. table: what is left, in hash order of `identity`.

    The table's columns: identity, those of the recipe's `columns` under our names.
    """

    rows: int
    dropped: dict[str, int]
    table: pa.Table


def read_list(path: Path, suffix: str, columns: dict[str, str]) -> pa.Table:
    """The named columns of a list, under our names; url and caption as text. DataError where one is missing."""
    try:
        names = _column_names(path, suffix)
        missing = sorted(set(columns.values()) - set(names))
        if missing:
            raise DataError(
                f"{path}: no column {', '.join(missing)}. It has {', '.join(names)}: correct `columns` in the source."
            )
        wanted = list(dict.fromkeys(columns.values()))
        if suffix == ".parquet":
            table = pq.read_table(path, columns=wanted)
        else:
            text = {columns[name]: pa.string() for name in _TEXT if name in columns}
            options = pa_csv.ConvertOptions(include_columns=wanted, column_types=text)
            table = pa_csv.read_csv(path, parse_options=_dialect(suffix), convert_options=options)
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{path}: no such list. Correct its place in the source.") from None
        raise DataError(f"{path}: not a readable {suffix} file ({error}). Get the list again.") from None
    table = pa.table({name: table[column] for name, column in columns.items()})
    for name in _TEXT:
        if name in columns:
            place = table.column_names.index(name)
            table = table.set_column(place, name, pc.cast(table[name], pa.string()))
    return table


def _column_names(path: Path, suffix: str) -> list[str]:
    if suffix == ".parquet":
        return list(pq.read_schema(path).names)
    with pa_csv.open_csv(path, parse_options=_dialect(suffix)) as reader:
        return list(reader.schema.names)


def _dialect(suffix: str) -> pa_csv.ParseOptions:
    return pa_csv.ParseOptions(delimiter="\t" if suffix.startswith(".tsv") else ",", newlines_in_values=True)


def wanted_rows(path: Path, suffix: str, recipe: UrlListSource, removal: RemovalList) -> WantedRows:
    """Read a list and leave out what the recipe and the removal list refuse; the first reason counts."""
    table = read_list(path, suffix, recipe.columns)
    rows = len(table)
    sieve = Sieve(table)
    sieve.keep("no_url", pc.fill_null(pc.match_substring_regex(table["url"], "^https?://[^/]"), False))
    sieve.keep_captions(recipe.min_caption_characters, recipe.max_caption_characters)
    for name, limit in sorted(recipe.safety.max.items()):
        sieve.keep(f"safety_{name}", evaluate(f"{name} <= {limit!r}", sieve.table))
    for name, allowed in sorted(recipe.safety.allowed.items()):
        sieve.keep(f"safety_{name}", evaluate(f"{name} in {allowed!r}", sieve.table))
    sieve.keep_filtered(recipe.filters)
    removed = pa.array(sorted(removal.urls), pa.string())
    sieve.keep("removal_list", pc.invert(pc.is_in(sieve.table["url"], value_set=removed)))
    if "sha256" in recipe.columns:
        hashes = pa.array(sorted(removal.hashes), pa.string())
        sieve.keep("removal_list", pc.invert(pc.is_in(sieve.table["sha256"], value_set=hashes)))
    table, dropped = _with_identity(sieve.table), sieve.dropped
    repeated = len(table)
    table = table.group_by("identity", use_threads=False).aggregate(
        [(name, "first", pc.ScalarAggregateOptions(skip_nulls=False)) for name in table.column_names[1:]]
    )
    table = table.rename_columns([name.removesuffix("_first") for name in table.column_names])
    if repeated > len(table):
        dropped["repeated_row"] = repeated - len(table)
    order = sorted(range(len(table)), key=[hash_order(one) for one in table["identity"].to_pylist()].__getitem__)
    return WantedRows(rows, dict(dropped), table.take(pa.array(order, pa.int64())))


def _with_identity(table: pa.Table) -> pa.Table:
    """`identity` first: a name that follows from URL and caption alone, whatever list or row they stand in."""
    pairs = zip(table["url"].to_pylist(), table["caption"].to_pylist(), strict=True)
    names = [identity_of(url, caption) for url, caption in pairs]
    return table.add_column(0, "identity", pa.array(names, pa.string()))


def identity_of(url: str, caption: str) -> str:
    """`url:` and 128 bits of a hash over URL and caption."""
    return "url:" + hashlib.sha256(f"{url}\n{caption}".encode()).hexdigest()[:32]
