"""The index over all tars in hash order, from their records: arrays and files, never a list of identities.

At 10 million pairs the arrays here take about 1 GB.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....errors import DataError
from ....records.files import atomic_path
from ...shards.write import INDEX_DTYPE, write_array
from .records import load_record

_CHUNK = 100_000


@dataclass(frozen=True)
class JoinedTars:
    """Usable pairs of all tars, (n,) each: row i of each array is a pair, in the tars' order.

    places: rows in hash order. line_ends: where each identity's line ends in the lines of all tars.
    caption, image: first bits of their hashes; empty unless asked for.
    """

    index: np.ndarray
    places: NDArray[np.int64]
    line_ends: NDArray[np.uint64]
    caption: NDArray[np.uint64]
    image: NDArray[np.uint64]


def join_records(records: Sequence[Path], pairs: int, lines: Path, has_hashes: bool) -> JoinedTars:
    """Read the records of tars 0, 1, ...; `pairs` is their sum. All identities go to the file `lines`, one a line."""
    index = np.empty(pairs, INDEX_DTYPE)
    order = np.empty((2, pairs), np.uint64)
    line_ends = np.empty(pairs, np.uint64)
    caption, image = (np.empty(pairs if has_hashes else 0, np.uint64) for _ in range(2))
    at, written = 0, 0
    with open(lines, "wb") as file:
        for number, record in enumerate(records):
            samples, text = load_record(record)
            rows = slice(at, at + len(samples))
            index["shard"][rows] = number
            index["offset"][rows], index["size"][rows] = samples["offset"], samples["size"]
            order[:, rows] = samples["order"].T
            line_ends[rows] = samples["line_end"] + np.uint64(written)
            if has_hashes:
                caption[rows], image[rows] = samples["caption"], samples["image"]
            file.write(text.tobytes())
            written += len(text)
            at += len(samples)
    if at != pairs:
        raise DataError(f"{lines.parent}: {at} pairs in the records of tars, {pairs} promised. Delete that folder.")
    return JoinedTars(index, np.lexsort((order[1], order[0])), line_ends, caption, image)


def identities_in(lines: Path, ends: NDArray[np.uint64], rows: NDArray[np.int64]) -> Iterator[bytes]:
    """The lines of these rows in turn, many in one piece."""
    text = np.memmap(lines, np.uint8, "r") if len(ends) else np.empty(0, np.uint8)
    for start in range(0, len(rows), _CHUNK):
        chosen = rows[start : start + _CHUNK]
        stop = ends[chosen].astype(np.int64)
        begin = np.where(chosen > 0, ends[np.maximum(chosen - 1, 0)].astype(np.int64), 0)
        length = stop - begin
        done = np.cumsum(length)
        # Byte b of line i of the piece lies at begin[i] + b.
        yield text[np.repeat(begin - (done - length), length) + np.arange(done[-1])].tobytes()


def write_ordered(root: Path, joined: JoinedTars, places: NDArray[np.int64], lines: Path) -> str:
    """Write index.npy and identities.txt of pairs in this order under root; the digest of the order."""
    write_array(root / "index.npy", joined.index[places])
    digest = hashlib.sha256()
    with atomic_path(root / "identities.txt") as temporary, open(temporary, "wb") as file:
        for piece in identities_in(lines, joined.line_ends, places):
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def retrieval_pairs(
    caption: NDArray[np.uint64], image: NDArray[np.uint64], pairs: int, taken: Iterable[int], name: str
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """A retrieval set of pairs in hash order, as `holdout.retrieval_set` chooses it, from hashes alone.

    taken: images that another set shows. Returns: places of its pairs, ascending; which pairs have one of its captions.
    DataError where there are too few captions.
    """
    by_caption = np.argsort(caption, kind="stable")
    starts = np.flatnonzero(np.diff(caption[by_caption], prepend=~caption[by_caption[:1]]))
    seen = set(taken)
    chosen: list[int] = []
    captions: list[np.uint64] = []
    for number, start in enumerate(starts.tolist()):
        if len(chosen) == pairs:
            break
        end = starts[number + 1] if number + 1 < len(starts) else len(caption)
        fresh = next((place for place in by_caption[start:end].tolist() if int(image[place]) not in seen), None)
        if fresh is not None:
            seen.add(int(image[fresh]))
            chosen.append(fresh)
            captions.append(caption[fresh])
    if len(chosen) < pairs:
        raise DataError(
            f"held_out.{name}: {pairs} pairs with a caption of their own are asked for, the tars have {len(chosen)}. "
            "Lower `pairs`."
        )
    return np.sort(np.array(chosen, np.int64)), np.isin(caption, np.array(captions, np.uint64))
