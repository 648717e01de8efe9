"""A source that is a table of rows in hash order: retrieval sets held out of it, shards, tokenizer, and the manifest.

Images stay where they are until a shard is written: memory grows with the rows, not with the images.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...records.data import retrieval_images
from ...records.filenames import IDENTITIES
from ...records.files import FileEntry, ShardEntry, write_text
from ..progress import Progress
from ..shards.write import Members, ShardIndex, clear, shard_name, write_tar
from ..workers import ordered_map
from .base import RetrievalHoldOut
from .existing import ExistingSource
from .holdout import retrieval_set
from .pairs import Pair, hash_order, order_digest
from .urls.config import UrlListSource
from .write import clip_or_trained_merges, finish_source

log = logging.getLogger(__name__)

Samples = Callable[[pd.DataFrame], Iterable[tuple[str, Members]]]
"""Rows to (key, members), in the rows' order; called in worker processes, so a function of a module."""


def in_hash_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows sorted by the hash of their `identity`."""
    order = np.array([hash_order(identity) for identity in rows["identity"]])
    return rows.iloc[np.argsort(order, kind="stable")]


def hold_out(
    rows: pd.DataFrame, wanted: Mapping[str, RetrievalHoldOut]
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], dict[str, int]]:
    """Training rows that are left, the rows of every retrieval set, and how many rows each kept from training.

    rows: columns identity, caption and sha256 (hex, of the image), in hash order.
    """
    held_out: dict[str, pd.DataFrame] = {}
    kept_from_training: dict[str, int] = {}
    taken: set[bytes] = set()
    for name, about in sorted(wanted.items()):
        pool = [
            Pair(identity, caption, b"", bytes.fromhex(sha256))
            for identity, caption, sha256 in zip(rows["identity"], rows["caption"], rows["sha256"], strict=True)
        ]
        chosen, captions = retrieval_set(name, pool, about.pairs, (), taken)
        taken |= {pair.pixels for pair in chosen.pairs}
        by_identity = rows.set_index("identity", drop=False)
        held_out[name] = by_identity.loc[[pair.identity for pair in chosen.pairs]].reset_index(drop=True)
        kept_from_training[name] = chosen.kept_from_training
        rows = rows[~rows["caption"].isin(captions)]
    return rows, held_out, kept_from_training


@dataclass(frozen=True)
class Content:
    """What a source is made of. rows: training pairs in hash order. more_files: names that lie there already."""

    rows: pd.DataFrame
    held_out: Mapping[str, pd.DataFrame]
    samples: Samples
    attribution: str
    more_files: Sequence[str] = ()


def write_row_source(
    root: Path, fields: dict[str, Any], recipe: UrlListSource | ExistingSource, content: Content, workers: int
) -> None:
    """Write everything under root; the manifest is there only when all else is. `workers` changes no byte.

    fields: of the manifest, its name, counts and whatever else is of this kind of source.
    """
    rows, samples = content.rows, content.samples
    clear(root, "shards", "held_out", "tokenizer")
    shards = _write_shards(root, rows, samples, recipe.shard_size, workers)
    identities = rows["identity"].tolist()
    write_text(root / IDENTITIES, "".join(f"{identity}\n" for identity in identities))
    held_out = {}
    for key, shown in content.held_out.items():
        path = f"held_out/{key}.tar"
        write_tar(root / path, samples(shown))
        held_out[key] = retrieval_images(path, len(shown))
    fields |= {"shards": shards, "held_out": held_out, "order_digest": order_digest(identities)}
    merges = clip_or_trained_merges(rows["caption"], recipe.vocabulary_size)
    finish_source(root, recipe, fields, merges, content.attribution, content.more_files)


def _write_shards(root: Path, rows: pd.DataFrame, samples: Samples, size: int, workers: int) -> list[ShardEntry]:
    """Shards and index.npy, a shard a task; the manifest's entries in order."""
    pieces = [(number, rows.iloc[start : start + size]) for number, start in enumerate(range(0, len(rows), size))]
    work = partial(_write_shard, root=root, samples=samples)
    index, progress = ShardIndex(len(rows)), Progress("written", len(rows))
    with ordered_map(min(workers, len(pieces))) as each:
        for entry, spans in each(work, pieces):
            index.add(entry, *zip(*spans, strict=True))
            progress.add(len(spans))
    return index.write(root)


def _write_shard(
    piece: tuple[int, pd.DataFrame], root: Path, samples: Samples
) -> tuple[FileEntry, list[tuple[int, int]]]:
    number, rows = piece
    path = root / shard_name(number)
    spans = write_tar(path, samples(rows))
    return FileEntry.of(path, root), spans
