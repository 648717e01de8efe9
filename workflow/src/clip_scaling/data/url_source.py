"""Join the downloaded parts of a source of kind url_list: clean, hold out, order by hash, write shards and manifest."""

from __future__ import annotations

import hashlib
import json
import logging
import multiprocessing
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config import UrlListSource
from ..errors import DataError
from ..manifests import canonical_json, describe_file, write_json, write_text
from .holdout import retrieval_set
from .pairs import Pair, hash_order, order_digest
from .part import read_part
from .progress import Progress
from .removal import RemovalList
from .shards import INDEX_DTYPE, Members, clear, shard_name, write_index, write_tar
from .tokenizer import CLIP_ROWS, clip_merges, train_merges, write_merges

log = logging.getLogger(__name__)


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
    clear(root, "shards", "held_out", "tokenizer")
    joined = join_parts(recipe, parts, removal)
    if joined.pairs.empty:
        raise DataError(
            f"source {name}: no pair is left of {joined.counts['parsed']} rows: {joined.counts['dropped']}."
        )
    shards = _write_shards(root, joined.pairs, recipe, workers)
    identities = joined.pairs["identity"].tolist()
    write_text(root / "identities.txt", "".join(f"{identity}\n" for identity in identities))
    captions = joined.pairs["caption"]
    is_clips = recipe.vocabulary_size == CLIP_ROWS
    merges = clip_merges() if is_clips else train_merges(captions, recipe.vocabulary_size)
    write_merges(root / "tokenizer/merges.txt.gz", merges)
    write_text(root / "ATTRIBUTION.md", _attribution(name, recipe, len(identities)))
    files = ["ATTRIBUTION.md", "identities.txt", "index.npy", "tokenizer/merges.txt.gz"]
    held_out: dict[str, Any] = {}
    for key, rows in joined.held_out.items():
        path = f"held_out/{key}.tar"
        write_tar(root / path, _samples(rows, root, recipe.encode_format))
        files.append(path)
        held_out[key] = {
            "kind": recipe.held_out[key].kind,
            "path": path,
            "images": len(rows),
            "classes": [],
            "templates": [],
        }
    write_json(
        root / "manifest.json",
        {
            "kind": "source",
            "format": 1,
            "name": name,
            "recipe": recipe.tracked(),
            "pairs": len(identities),
            "counts": joined.counts,
            "steps": joined.steps,
            "shards": shards,
            "files": [describe_file(root / path, root) for path in sorted(files)],
            "held_out": held_out,
            "order_digest": order_digest(identities),
        },
    )
    log.info("source=%s pairs=%d shards=%d", name, len(identities), len(shards))


def join_parts(recipe: UrlListSource, parts: Sequence[Path], removal: RemovalList) -> Joined:
    """The rows of all parts, cleaned across them; every row of every list is in one of the counts."""
    steps, tables, not_asked, failed = [], [], Counter[str](), Counter[str]()
    for path in sorted(parts, key=lambda path: path.parent.name):
        manifest, table = read_part(path)
        steps.append({key: manifest[key] for key in ("part", "rows", "not_asked", "asked", "fetched", "failed")})
        not_asked.update(manifest["not_asked"])
        failed.update(manifest["failed"])
        fetched = str(path.parent / "fetched")
        tables.append(table.assign(tar=[f"{fetched}/{tar}" for tar in table["tar"]]))
    rows = pd.concat(tables, ignore_index=True)
    order = np.array([hash_order(identity) for identity in rows["identity"]])
    rows = rows.iloc[np.argsort(order, kind="stable")]
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
    rows, held_out, kept_from_training = _hold_out(rows, recipe)
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


def _hold_out(
    rows: pd.DataFrame, recipe: UrlListSource
) -> tuple[pd.DataFrame, dict[str, pd.DataFrame], dict[str, int]]:
    """Training rows that are left, the rows of every retrieval set, and how many rows each kept from training."""
    held_out: dict[str, pd.DataFrame] = {}
    kept_from_training: dict[str, int] = {}
    taken: set[bytes] = set()
    for name, wanted in sorted(recipe.held_out.items()):
        pool = [
            Pair(identity, caption, b"", bytes.fromhex(sha256))
            for identity, caption, sha256 in zip(rows["identity"], rows["caption"], rows["sha256"], strict=True)
        ]
        chosen, captions = retrieval_set(name, pool, wanted.pairs, (), taken)
        taken |= {pair.pixels for pair in chosen.pairs}
        by_identity = rows.set_index("identity", drop=False)
        held_out[name] = by_identity.loc[[pair.identity for pair in chosen.pairs]].reset_index(drop=True)
        kept_from_training[name] = chosen.kept_from_training
        rows = rows[~rows["caption"].isin(captions)]
    return rows, held_out, kept_from_training


def _write_shards(root: Path, rows: pd.DataFrame, recipe: UrlListSource, workers: int) -> list[dict[str, Any]]:
    """Shards and index.npy, a shard a task; the manifest's entries in order."""
    size = recipe.shard_size
    pieces = [(number, rows.iloc[start : start + size]) for number, start in enumerate(range(0, len(rows), size))]
    work = partial(_write_shard, root=root, encode_format=recipe.encode_format)
    index = np.empty(len(rows), INDEX_DTYPE)
    shards = []
    progress = Progress("written", len(rows))
    with multiprocessing.get_context("spawn").Pool(min(workers, len(pieces))) as pool:
        for number, (entry, spans) in enumerate(pool.imap(work, pieces)):
            inside = slice(number * size, number * size + len(spans))
            index["shard"][inside] = number
            index["offset"][inside] = [offset for offset, _ in spans]
            index["size"][inside] = [length for _, length in spans]
            shards.append({**entry, "pairs": len(spans)})
            progress.add(len(spans))
    write_index(root / "index.npy", index)
    return shards


def _write_shard(
    piece: tuple[int, pd.DataFrame], root: Path, encode_format: str
) -> tuple[dict[str, Any], list[tuple[int, int]]]:
    number, rows = piece
    path = root / shard_name(number)
    spans = write_tar(path, _samples(rows, root, encode_format))
    return describe_file(path, root), spans


def _samples(rows: pd.DataFrame, root: Path, encode_format: str) -> list[tuple[str, Members]]:
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
