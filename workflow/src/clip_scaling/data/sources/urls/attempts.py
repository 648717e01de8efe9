"""What img2dataset has written for a part so far: every attempt at every row, in batches that are never rewritten.

A shard counts when its statistics are there, which img2dataset writes last; what a killed run left beside is removed.
"""

from __future__ import annotations

import mmap
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from ....errors import DataError
from ....records.files import write_text
from .failures import failure_class
from .removal import RemovalList

RESULT = ["sha256", "stored_sha256", "dhash", "original_width", "original_height", "offset", "size"]
_REMOVED = "removed.txt"
_BATCH = re.compile(r"round-(\d+)-(\d+)")


def batch_name(round: int, number: int) -> str:
    """Folder of a batch: the round of retries that it belongs to, and its number over all rounds."""
    return f"round-{round:02d}-{number:03d}"


def next_batch(root: Path, round: int) -> Path:
    """A folder that is not there yet."""
    return root / batch_name(round, max((number for _, number, _ in _batches(root)), default=-1) + 1)


def _batches(root: Path) -> list[tuple[int, int, Path]]:
    found = [(match, path) for path in root.glob("round-*") if (match := _BATCH.fullmatch(path.name))]
    return sorted((int(match[1]), int(match[2]), path) for match, path in found)


def read_attempts(root: Path) -> pd.DataFrame:
    """One row an attempt, in the order they were made.

    Columns: identity, url, round, batch, outcome (`fetched` or a failure class), is_present (its image is still there),
    tar (relative to root), and RESULT.
    """
    frames = []
    for round, number, folder in _batches(root):
        for statistics in sorted(folder.glob("*_stats.json")):
            shard = statistics.name.split("_")[0]
            frames.append(_read_shard(root, folder, shard).assign(round=round, batch=number))
    columns = ["identity", "url", "round", "batch", "outcome", "is_present", "tar", *RESULT]
    if not frames:
        return pd.DataFrame({column: pd.Series(dtype=object) for column in columns})
    attempts = pd.concat(frames, ignore_index=True).sort_values(["batch", "identity"], ignore_index=True)[columns]
    removed = _removed(root)
    if removed:
        places = zip(attempts["tar"], attempts["offset"], strict=True)
        attempts["is_present"] &= np.array([(tar, offset) not in removed for tar, offset in places])
    return attempts


def _removed(root: Path) -> set[tuple[str, float]]:
    path = root / _REMOVED
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {(tar, float(offset)) for tar, offset in (line.split("\t") for line in lines)}


def _read_shard(root: Path, folder: Path, shard: str) -> pd.DataFrame:
    tar = folder / f"{shard}.tar"
    try:
        asked = pq.read_table(folder / "list" / f"{shard}.parquet").to_pandas()
        table = pq.read_table(folder / f"{shard}.parquet", columns=["identity", "status", "error_message", *RESULT])
    except (OSError, ValueError) as error:
        raise DataError(f"{folder}, shard {shard}: cannot be read ({error}). Delete {folder} and run again.") from None
    frame = asked.merge(table.to_pandas(), on="identity", how="left")
    has_image = frame["status"] == "success"
    frame["outcome"] = [
        "fetched" if is_fetched else failure_class(message if isinstance(message, str) else None)
        for is_fetched, message in zip(has_image, frame["error_message"], strict=True)
    ]
    there = tar.stat().st_size if tar.is_file() else 0
    frame["is_present"] = has_image & (frame["offset"] + frame["size"] <= there)
    return frame.assign(tar=tar.relative_to(root).as_posix())


def remove_unfinished(root: Path) -> None:
    """Delete what a killed run left: shards without statistics, and img2dataset's own temporary files."""
    for _, _, folder in _batches(root):
        finished = {path.name.split("_")[0] for path in folder.glob("*_stats.json")}
        for path in folder.iterdir():
            if path.is_file() and path.name[:5] not in finished:
                path.unlink()


def blank_removed(root: Path, attempts: pd.DataFrame, removal: RemovalList) -> int:
    """Overwrite the images of removed rows with zeros where they lie; returns how many were still there.

    Their places are noted in removed.txt, so that they count as lost from then on.
    """
    hit = attempts["url"].isin(removal.urls) | attempts["sha256"].isin(removal.hashes)
    gone = attempts[hit & attempts["is_present"].astype(bool)]
    if gone.empty:
        return 0
    # Noted first: an image that was overwritten and not noted would be taken for a damaged one.
    places = {(str(tar), float(offset)) for tar, offset in zip(gone["tar"], gone["offset"], strict=True)}
    write_text(root / _REMOVED, "".join(f"{tar}\t{int(offset)}\n" for tar, offset in sorted(_removed(root) | places)))
    for tar, rows in gone.groupby("tar"):
        with open(root / str(tar), "r+b") as file, mmap.mmap(file.fileno(), 0) as content:
            for offset, size in zip(rows["offset"].astype(int), rows["size"].astype(int), strict=True):
                content[offset : offset + size] = bytes(size)
    return len(gone)
