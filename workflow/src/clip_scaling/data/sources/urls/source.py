"""Join the downloaded parts of a source of kind url_list: clean, hold out, order by hash, write shards and manifest."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ....errors import DataError
from ....records.data import SourceCounts
from ....records.filenames import MANIFEST
from ....records.files import canonical_json
from ...shards.write import Members
from ..rows import Content, hold_out, in_hash_order, write_row_source
from .config import UrlListSource
from .part import read_part
from .removal import RemovalList


@dataclass(frozen=True)
class Joined:
    """pairs: training pairs in hash order, a row each. held_out: rows by set. counts: the manifest's balance."""

    pairs: pd.DataFrame
    held_out: dict[str, pd.DataFrame]
    counts: dict[str, Any]
    steps: list[dict[str, Any]]


def write_url_source(
    root: Path, name: str, recipe: UrlListSource, parts: Sequence[Path], removal: RemovalList, workers: int
) -> None:
    """Write everything under root from the records of its parts; the manifest is there only when all else is.

    The result does not depend on `workers`. DataError where an image is not what its part recorded.
    """
    joined = join_parts(recipe, parts, removal)
    if joined.pairs.empty:
        (root / MANIFEST).unlink(missing_ok=True)
        raise DataError(
            f"source {name}: no pair is left of {joined.counts['parsed']} rows: {joined.counts['dropped']}."
        )
    counts = SourceCounts.model_validate(joined.counts)
    fields = {"name": name, "counts": counts, "steps": joined.steps}
    samples = partial(_samples, encode_format=recipe.encode_format)
    attribution = _attribution(name, recipe, len(joined.pairs))
    content = Content(joined.pairs, joined.held_out, samples, attribution)
    write_row_source(root, fields, recipe, content, workers)


def join_parts(recipe: UrlListSource, parts: Sequence[Path], removal: RemovalList) -> Joined:
    """The rows of all parts, cleaned across them; every row of every list is in one of the counts."""
    steps, tables, not_asked, failed = [], [], Counter[str](), Counter[str]()
    for path in sorted(parts, key=lambda path: path.parent.name):
        record, table = read_part(path)
        steps.append(record.step.model_dump())
        not_asked.update(record.not_asked)
        failed.update(record.failed)
        fetched = str(path.parent / "fetched")
        tables.append(table.assign(tar=[f"{fetched}/{tar}" for tar in table["tar"]]))
    rows = pd.concat(tables, ignore_index=True)
    rows = in_hash_order(rows)
    dropped = Counter[str]()

    def leave_out(reason: str, is_out: pd.Series) -> None:
        nonlocal rows
        if is_out.any():
            dropped[reason] += int(is_out.sum())
        rows = rows[~is_out]

    leave_out("removal_list", rows["url"].isin(removal.urls) | rows["sha256"].isin(removal.hashes))
    leave_out("repeated_row", rows["identity"].duplicated())
    if recipe.is_repeat_dropped:
        leave_out("repeated_image", rows["sha256"].duplicated())
    rows, held_out, kept_from_training = hold_out(rows, recipe.held_out)
    total = sum(step["rows"] for step in steps)
    every = Counter({f"list:{reason}": count for reason, count in not_asked.items()})
    every.update({f"download:{reason}": count for reason, count in failed.items()})
    every.update({f"join:{reason}": count for reason, count in dropped.items()})
    counts = {
        "parsed": total,
        "kept": len(rows),
        "held_out": kept_from_training,
        "dropped": dict(sorted(every.items())),
    }
    balance = len(rows) + sum(kept_from_training.values()) + sum(every.values())
    if balance != total:
        raise DataError(f"{total} rows are listed but {balance} are accounted for. This is a fault: please report it.")
    return Joined(rows.reset_index(drop=True), held_out, counts, steps)


def _samples(rows: pd.DataFrame, encode_format: str) -> list[tuple[str, Members]]:
    """(key, members) of rows: image, caption, and a JSON of what the lists and the download know of it."""
    images = _read_images(rows)
    samples: list[tuple[str, Members]] = []
    for row, image in zip(rows.itertuples(index=False), images, strict=True):
        known = {
            "url": row.url,
            "sha256": row.sha256,
            "dhash": f"{int(row.dhash):016x}",
            "original_width": int(row.original_width),
            "original_height": int(row.original_height),
            "listed": json.loads(row.metadata),
        }
        members = {
            encode_format: image,
            "txt": row.caption.encode("utf-8"),
            "json": canonical_json(known).encode("utf-8"),
        }
        samples.append((row.identity.replace(":", "/", 1), members))
    return samples


def _read_images(rows: pd.DataFrame) -> list[bytes]:
    """Image bytes in the rows' order, read tar by tar in the order they lie there, each held against its hash."""
    images: dict[int, bytes] = {}
    numbered = rows.assign(place=np.arange(len(rows)))
    for tar, inside in numbered.groupby("tar"):
        with open(str(tar), "rb") as file:
            ordered = inside.sort_values("offset")
            for place, offset, size, sha256 in zip(
                ordered["place"], ordered["offset"], ordered["size"], ordered["stored_sha256"], strict=True
            ):
                file.seek(offset)
                content = file.read(size)
                if hashlib.sha256(content).hexdigest() != sha256:
                    part = Path(str(tar)).parents[2]
                    raise DataError(
                        f"{tar}: the image at {offset} is not what was downloaded. Delete the tar and "
                        f"{part}/round-*.json and run the same command: what was in it is asked for again."
                    )
                images[int(place)] = content
    return [images[place] for place in range(len(rows))]


def _attribution(name: str, recipe: UrlListSource, pairs: int) -> str:
    return (
        f"# Attribution\n\n{pairs} images and captions of source {name}, downloaded from the addresses in the lists\n"
        f"of {recipe.urls}. Each image belongs to its author and keeps its own licence; the JSON member of each\n"
        "sample gives its address. The lists' own licence is that of their publisher.\n"
    )
