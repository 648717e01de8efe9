"""Batches of an evaluation set decoded by worker processes: the batches of `read_batches`, to the bit."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ...errors import DataError, EvaluationError
from ...models.preprocess import Preprocess
from ...records.filenames import MANIFEST
from ...records.files import FileEntry
from ..part_workers import AHEAD, PartWorkers
from ..shards.read import PairReader, UnreadablePair
from ..shared_batches import SharedBatches
from .layout import tar_paths
from .places import sample_places
from .read import REMEDY, ImageBatch, as_sample, read_batches

log = logging.getLogger(__name__)
FEWEST = 128
"""Samples a worker, below which starting it costs more than it saves."""


@dataclass(frozen=True)
class Decoding:
    """How a split is read. workers: processes that decode; 0: this one. is_for_gpu: batches lie in pinned memory."""

    batch_size: int
    workers: int = 0
    on_unreadable: str = "error"
    is_for_gpu: bool = False


def workers_of(asked: int | None, threads: int, *, has_gpu: bool) -> int:
    """Processes that decode where nobody says: one a CPU thread; with one thread and no GPU this process does."""
    if asked is not None:
        return asked
    return threads if threads > 1 or has_gpu else 0


def decoded_batches(
    folder: Path, preprocess: Preprocess, how: Decoding, split: str = "test", begin: int = 0
) -> Generator[ImageBatch]:
    """Yield the images of a split from sample `begin` on, in order, as `read_batches` does.

    Pixels of a batch may hold until the next one only (`ImageBatch.is_lent`). EvaluationError where a sample cannot be
    read and is not to be skipped, DataError where a worker was killed.
    """
    for path in tar_paths(folder, split):
        if not (folder / path).is_file():
            raise EvaluationError("no such file", place=str(folder / path), remedy="Prepare the set again.")
    places = sample_places(folder, split) if how.workers else None
    workers = 0 if places is None else min(how.workers, (len(places) - begin) // FEWEST)
    if places is None or workers < 1:
        return read_batches(
            folder, preprocess, how.batch_size, split=split, on_unreadable=how.on_unreadable, begin=begin
        )
    samples = Samples(folder, split, places[begin:], preprocess)
    return _regrouped(_rows(samples, how, workers), how)


@dataclass(frozen=True)
class _Row:
    """A sample of a batch without its pixels. error: why it cannot be read."""

    label: int | list[int] | None = None
    captions: list[str] | None = None
    error: EvaluationError | None = None


class Samples:
    """The samples of a split by number."""

    def __init__(self, folder: Path, split: str, places: NDArray[np.void], preprocess: Preprocess) -> None:
        tars = [FileEntry(path, 0, "") for path in tar_paths(folder, split)]
        self.reader, self.folder, self.preprocess = PairReader(folder / MANIFEST, tars, places), folder, preprocess

    def __len__(self) -> int:
        return self.reader.pairs

    def decode(self, number: int, pixels: NDArray[np.uint8]) -> _Row:
        """Put a sample's pixels where they belong: (size, size, 3)."""
        try:
            sample = as_sample(self.reader.read_members(number), "")
            pixels[:] = self.preprocess.pixels(sample.image).numpy()
        except MemoryError:
            return _Row(error=self._error(number, "no memory is left to decode it"))
        except UnreadablePair as error:
            return _Row(error=self._error(number, f"it cannot be read ({error})"))
        except EvaluationError as error:
            return _Row(error=self._error(number, error.thing))
        except DataError as error:  # the whole tar is gone
            return _Row(error=EvaluationError(error.thing, place=error.place, remedy="Prepare the set again."))
        return _Row(sample.label, sample.captions)

    def label(self, number: int) -> int:
        """Read a sample's class alone. EvaluationError where it has none."""
        try:
            return int(self.reader.read_members(number)["cls"])
        except (UnreadablePair, KeyError, ValueError) as error:
            raise self._error(number, f"its label cannot be read ({error})") from None

    def _error(self, number: int, thing: str) -> EvaluationError:
        return EvaluationError(thing, place=f"{self.folder}/{self.reader.name(number)}", remedy=REMEDY)


class _Parts(IterableDataset[Any]):
    """In worker w of W: every W-th row of each batch, from row w on."""

    def __init__(self, samples: Samples, batches: SharedBatches, batch_size: int) -> None:
        self.samples, self.batches, self.batch_size = samples, batches, batch_size

    def __iter__(self) -> Iterator[list[_Row]]:
        info = get_worker_info()
        assert info is not None, "runs in a DataLoader's worker"
        for number, first in enumerate(range(0, len(self.samples), self.batch_size)):
            pixels = self.batches[number].pixels
            rows = range(info.id, min(self.batch_size, len(self.samples) - first), info.num_workers)
            yield [self.samples.decode(first + row, pixels[row]) for row in rows]


def _rows(samples: Samples, how: Decoding, workers: int) -> Generator[tuple[Tensor, list[_Row]]]:
    """Yield the pixels and the rows of each batch of samples, readable or not."""
    batches = SharedBatches(AHEAD + 1, how.batch_size, samples.preprocess.size, 0)
    remedy = "Give the evaluation more `mem_mb`, or fewer workers"
    parts = PartWorkers(_Parts(samples, batches, how.batch_size), workers, batches, remedy, is_for_gpu=how.is_for_gpu)
    try:
        for number, first in enumerate(range(0, len(samples), how.batch_size)):
            rows: list[Any] = [None] * min(how.batch_size, len(samples) - first)
            for worker, part in enumerate(parts.next_batch()):
                rows[worker::workers] = part
            yield torch.from_numpy(batches[number].pixels)[: len(rows)], rows
    finally:
        parts.close()


def _regrouped(batches: Generator[tuple[Tensor, list[_Row]]], how: Decoding) -> Generator[ImageBatch]:
    """Make whole batches of what can be read; what cannot is an error, or counted."""
    with closing(batches):
        yield from _whole(batches, how)


def _whole(batches: Iterable[tuple[Tensor, list[_Row]]], how: Decoding) -> Iterator[ImageBatch]:
    pixels: list[Tensor] = []
    rows: list[_Row] = []
    skipped = 0
    for block, found in batches:
        if not rows and not skipped and len(found) == how.batch_size and not any(row.error for row in found):
            yield _batch(block, found, 0, is_lent=True)
            continue
        for picture, row in zip(block, found, strict=True):
            if row.error is not None:
                if how.on_unreadable == "error":
                    raise row.error
                log.warning(f"left out: {row.error}")
                skipped += 1
                continue
            pixels.append(picture.clone())
            rows.append(row)
            if len(rows) == how.batch_size:
                yield _batch(torch.stack(pixels), rows, skipped)
                pixels, rows, skipped = [], [], 0
    if rows:
        yield _batch(torch.stack(pixels), rows, skipped)


def _batch(pixels: Tensor, rows: list[_Row], skipped: int, *, is_lent: bool = False) -> ImageBatch:
    labels = [row.label for row in rows if row.label is not None]
    captions = [row.captions for row in rows if row.captions is not None]
    return ImageBatch(pixels, labels, captions, skipped, is_lent)
