"""One list of URLs and captions: read, given our column names, filtered; every row that leaves is counted by reason."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from ..filters import evaluate
from ..pairs import hash_order
from ..sieve import Sieve
from ..tables.read import read_table
from .config import UrlListSource
from .removal import RemovalList

_PROBLEM = "problem of the row"
"""A column that no list's column can be called here."""


@dataclass(frozen=True)
class WantedRows:
    """rows: number in the list. dropped: by reason. table: what is left, in hash order of `identity`.

    The table's columns: identity, those of the recipe's `columns` under our names.
    """

    rows: int
    dropped: dict[str, int]
    table: pa.Table


def wanted_rows(path: Path, suffix: str, recipe: UrlListSource, removal: RemovalList) -> WantedRows:
    """Read a list and leave out what the recipe and the removal list refuse; the first reason counts."""
    found = read_table(path, suffix, recipe.columns, recipe)
    rows = len(found.table)
    sieve = Sieve(found.table.append_column(_PROBLEM, found.problem))
    for problem in sorted(set(pc.unique(found.problem).to_pylist()) - {""}):
        sieve.keep(problem, pc.not_equal(sieve.table[_PROBLEM], problem))
    sieve.table = sieve.table.drop_columns(_PROBLEM)
    sieve.keep("no_url", pc.fill_null(pc.match_substring_regex(sieve.table["url"], "^https?://[^/]"), False))
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
