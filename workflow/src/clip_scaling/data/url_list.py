"""One list of URLs and captions: read, given our column names, filtered; every row that leaves is counted by reason."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from ..config import UrlListSource
from ..errors import DataError
from .metadata import evaluate
from .pairs import hash_order
from .removal import RemovalList


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
            text = {columns[name]: pa.string() for name in ("url", "caption", "sha256") if name in columns}
            options = pa_csv.ConvertOptions(include_columns=wanted, column_types=text)
            table = pa_csv.read_csv(path, parse_options=_dialect(suffix), convert_options=options)
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{path}: no such list. Correct `lists` in the source.") from None
        raise DataError(f"{path}: not a readable {suffix} file ({error}). Get the list again.") from None
    table = pa.table({name: table[column] for name, column in columns.items()})
    for name in ("url", "caption", "sha256"):
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
    dropped: Counter[str] = Counter()

    def keep(reason: str, is_met: pa.ChunkedArray | pa.Array) -> None:
        """Leave out rows that do not meet a condition, and, under a reason of their own, those it is null for."""
        nonlocal table
        lost, unknown = pc.sum(pc.invert(is_met)).as_py() or 0, is_met.null_count
        for name, count in ((reason, lost), (f"{reason}_missing", unknown)):
            if count:
                dropped[name] += count
        table = table.filter(is_met)  # null counts as false

    table = table.set_column(table.column_names.index("caption"), "caption", pc.utf8_trim_whitespace(table["caption"]))
    keep("no_url", pc.fill_null(pc.match_substring_regex(table["url"], "^https?://[^/]"), False))
    keep("no_caption", pc.fill_null(pc.greater(pc.utf8_length(table["caption"]), 0), False))
    keep("caption_too_short", pc.greater_equal(pc.utf8_length(table["caption"]), recipe.min_caption_characters))
    if recipe.max_caption_characters is not None:
        keep("caption_too_long", pc.less_equal(pc.utf8_length(table["caption"]), recipe.max_caption_characters))
    for name, limit in sorted(recipe.safety.max.items()):
        keep(f"safety_{name}", evaluate(f"{name} <= {limit!r}", table))
    for name, allowed in sorted(recipe.safety.allowed.items()):
        keep(f"safety_{name}", evaluate(f"{name} in {allowed!r}", table))
    for name, condition in recipe.filters.items():
        keep(f"filter_{name}", evaluate(condition, _with_derived_columns(table)))
    keep("removal_list", pc.invert(pc.is_in(table["url"], value_set=pa.array(sorted(removal.urls), pa.string()))))
    if "sha256" in recipe.columns:
        hashes = pa.array(sorted(removal.hashes), pa.string())
        keep("removal_list", pc.invert(pc.is_in(table["sha256"], value_set=hashes)))
    table = _with_identity(table)
    repeated = len(table)
    table = table.group_by("identity", use_threads=False).aggregate(
        [(name, "first", pc.ScalarAggregateOptions(skip_nulls=False)) for name in table.column_names[1:]]
    )
    table = table.rename_columns([name.removesuffix("_first") for name in table.column_names])
    if repeated > len(table):
        dropped["repeated_row"] = repeated - len(table)
    order = sorted(range(len(table)), key=[hash_order(one) for one in table["identity"].to_pylist()].__getitem__)
    return WantedRows(rows, dict(dropped), table.take(pa.array(order, pa.int64())))


def _with_derived_columns(table: pa.Table) -> pa.Table:
    table = table.append_column("caption_characters", pc.cast(pc.utf8_length(table["caption"]), pa.float64()))
    if {"width", "height"} <= set(table.column_names):
        width, height = (pc.cast(table[name], pa.float64()) for name in ("width", "height"))
        sides = [pick(width, height, skip_nulls=False) for pick in (pc.max_element_wise, pc.min_element_wise)]
        table = table.append_column("aspect_ratio", pc.divide(*sides))
    return table


def _with_identity(table: pa.Table) -> pa.Table:
    """`identity` first: a name that follows from URL and caption alone, whatever list or row they stand in."""
    pairs = zip(table["url"].to_pylist(), table["caption"].to_pylist(), strict=True)
    names = [identity_of(url, caption) for url, caption in pairs]
    return table.add_column(0, "identity", pa.array(names, pa.string()))


def identity_of(url: str, caption: str) -> str:
    """`url:` and 128 bits of a hash over URL and caption."""
    return "url:" + hashlib.sha256(f"{url}\n{caption}".encode()).hexdigest()[:32]
