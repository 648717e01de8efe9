"""Pairs streamed from webdataset tars: read by offset, decoded, cropped and tokenised by workers as they are needed."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import IterableDataset, get_worker_info

from ..data.part_workers import AHEAD, PartWorkers
from ..data.shards.opening import is_url
from ..data.shards.packed import squared
from ..data.shards.read import PairReader, UnreadablePair, decode_caption, decode_image, decode_shrunk
from ..data.shared_batches import Rows, SharedBatches
from ..errors import DataError
from ..models.tokenizer import load_tokenizer
from .augment import crop_boxes, fit
from .inputs import Batch
from .order import Indices, Order

log = logging.getLogger(__name__)
_ATTEMPTS = 64
"""Substitutes tried for an unreadable pair: with a tenth of the data readable, all fail once in 850 samples."""
_NAMED = 10
"""Unreadable pairs that a process names in the log; the record counts them all."""
_CAPTIONS = 1 << 15
"""Distinct captions whose tokens a process remembers."""


@dataclass(frozen=True)
class Form:
    """What a model takes: side of its images, tokens of its texts. crop_scale: area of random crops; None for none."""

    image_size: int
    context_length: int
    crop_scale: tuple[float, float] | None = None


class Decoder:
    """From positions of the order to pixels and tokens, in one process. The result depends on the positions alone."""

    def __init__(self, reader: PairReader, merges: Path, order: Order, form: Form) -> None:
        self.reader, self.order, self.form, self.named = reader, order, form, 0
        tokenizer = load_tokenizer(merges, form.context_length)
        self._tokens = lru_cache(_CAPTIONS)(lambda caption: tokenizer([caption])[0].numpy())

    def decode(self, positions: Indices, into: Rows, rows: Indices) -> int:
        """Put the pairs at these positions into rows of a batch; unreadable ones are replaced and counted.

        Returns how many were replaced.
        """
        indices, epochs, lost = self.order.indices(positions), self.order.epochs(positions), 0
        for number, row in enumerate(rows):
            one = slice(number, number + 1)
            for attempt in range(_ATTEMPTS + 1):
                try:
                    into.pixels[row], into.tokens[row] = self._pair(indices[one], epochs[one])
                    break
                except UnreadablePair as error:
                    lost += attempt == 0
                    self._name(error, int(indices[number]))
                    indices[one] = self.order.substitutes(positions[one], attempt)
            else:
                raise DataError(
                    f"{self.reader.home}: {_ATTEMPTS} pairs in a row are unreadable, at position {positions[number]}. "
                    f"{self.reader.remedy}"
                )
        into.indices[rows] = indices
        return lost

    def _pair(self, index: Indices, epoch: Indices) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
        """(pixels, tokens) of a pair. index, epoch: (1,)."""
        content, caption = self.reader.read(int(index[0]))
        size, scale = self.form.image_size, self.form.crop_scale
        if scale is None:
            pixels = squared(decode_image(content), size)  # as data/packed.py does: the same bits either way
        else:
            pixels = self._cropped(content, index, epoch, scale)
        return pixels, self._tokens(decode_caption(caption))

    def _cropped(self, content: bytes, index: Indices, epoch: Indices, scale: tuple[float, float]) -> NDArray[np.uint8]:
        """(size, size, 3) pixels of a crop. A JPEG is decoded at the least size that the crop is not enlarged from."""
        box = np.zeros(4, dtype=np.int64)

        def part(width: int, height: int) -> int:
            box[:] = crop_boxes(scale, self.order.seed, epoch, index, np.array([[width, height]]))[0]
            return int(min(box[2] - box[0], box[3] - box[1])) // self.form.image_size

        image, shrunk = decode_shrunk(content, part)
        return fit(image, self.form.image_size, box / shrunk)

    def _name(self, error: UnreadablePair, number: int) -> None:
        self.named += 1
        if self.named <= _NAMED:
            where = self.reader.name(number)
            log.warning(f"{self.reader.home}: {where}: pair {number} is unreadable and another is taken: {error}")


class _Parts(IterableDataset[Any]):
    """In worker w of W: its rows of each step's batch, from a first step on, without end. Gives how many were lost."""

    def __init__(self, decoder: Decoder, batches: SharedBatches, first: Indices, advance: int, ranks: int) -> None:
        self.decoder, self.batches, self.first, self.advance, self.ranks = decoder, batches, first, advance, ranks

    def __iter__(self) -> Iterator[int | DataError]:
        info = get_worker_info()
        assert info is not None, "runs in a DataLoader's worker"
        positions = self.first
        for number in itertools.count():
            rows = np.flatnonzero(worker_of(positions, self.ranks, info.num_workers) == info.id)
            try:
                yield self.decoder.decode(positions[rows], self.batches[number], rows)
            except DataError as error:  # as a value: raised here, its message would become a traceback
                yield error
                return
            positions = positions + self.advance


def worker_of(positions: Indices, ranks: int, workers: int) -> Indices:
    """Which worker of its rank handles each position. With virtual readers a worker keeps to some of them."""
    return (positions // ranks) % workers


class StreamInput:
    """Pairs of a subset, streamed from its tars (local, or URLs through a cache on this node).

    merges: of the tokenizer. workers: processes that decode ahead; 0: this one decodes when asked.
    ranks, batch_size: the run's, from which workers know the positions of the steps to come. What a batch holds
    depends on neither. is_for_gpu: the workers' batches lie in pinned memory. DataError where a whole shard is missing.
    """

    def __init__(
        self,
        reader: PairReader,
        merges: Path,
        order: Order,
        form: Form,
        *,
        workers: int,
        ranks: int,
        batch_size: int,
        is_for_gpu: bool = False,
    ) -> None:
        self.form, self.is_for_gpu = form, is_for_gpu
        self.order, self.workers, self.ranks, self.batch_size = order, workers, ranks, batch_size
        self.reader = reader
        if reader.pairs != order.pairs:
            raise DataError(f"{reader.home}: {reader.pairs} pairs, the order is of {order.pairs}")
        if order.readers is None and any(is_url(entry.path) for entry in reader.shards):
            log.warning(f"{reader.home}: shards at URLs, and a full shuffle reads all of them: set recipe.readers")
        self.decoder = Decoder(self.reader, merges, order, form)
        self._workers: PartWorkers | None = None
        self._next: Indices | None = None
        self._number = 0

    def batch(self, positions: Indices) -> Batch:
        """The pairs at these positions: a rank's share of a step. Steps in a row are decoded ahead.

        With workers, pixels and tokens lie where the workers write later batches: they hold until the next call.
        """
        if not self.workers:
            rows = Rows.of_own_memory(len(positions), self.form.image_size, self.form.context_length)
            return _batch(rows, self.decoder.decode(positions, rows, np.arange(len(positions))))
        if self._workers is None or self._next is None or not np.array_equal(positions, self._next):
            self.close()
            self._workers, self._number = self._start(positions), 0
        self._next = positions + self.batch_size
        lost = 0
        for part in self._workers.next_batch():
            if isinstance(part, DataError):
                self.close()
                raise part
            lost += part
        batch = _batch(self._workers.batches[self._number], lost)
        self._number += 1
        return batch

    def _start(self, positions: Indices) -> PartWorkers:
        batches = SharedBatches(AHEAD + 1, len(positions), self.form.image_size, self.form.context_length)
        parts = _Parts(self.decoder, batches, positions, self.batch_size, self.ranks)
        remedy = "Give the cell more `mem_mb`, or set fewer resources.train.workers"
        return PartWorkers(parts, self.workers, batches, remedy, is_for_gpu=self.is_for_gpu)

    def close(self) -> None:
        """End the workers and close the shards."""
        if self._workers is not None:
            self._workers.close()
        self._workers = self._next = None
        self.reader.close()


def _batch(rows: Rows, lost: int) -> Batch:
    return Batch(torch.from_numpy(rows.pixels), torch.from_numpy(rows.tokens), rows.indices.copy(), lost)
