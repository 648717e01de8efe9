"""Pairs streamed from webdataset tars: read by offset, decoded, cropped and tokenised by workers as they are needed."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from ..data.shards.opening import is_url
from ..data.shards.packed import squared
from ..data.shards.read import PairReader, UnreadablePair, decode_caption, decode_image
from ..data.workers import KillableForks, worker_was_killed
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
        self._tokens = lru_cache(_CAPTIONS)(lambda caption: tokenizer([caption])[0])

    def decode(self, positions: Indices) -> Batch:
        """The pairs at these positions; unreadable ones are replaced and counted."""
        indices = self.order.indices(positions)
        epochs = self.order.epochs(positions)
        size = self.form.image_size
        pixels = np.empty((len(positions), size, size, 3), dtype=np.uint8)
        tokens = torch.zeros((len(positions), self.form.context_length), dtype=torch.int64)
        lost = 0
        for row in range(len(positions)):
            one = slice(row, row + 1)
            for attempt in range(_ATTEMPTS + 1):
                try:
                    image, tokens[row] = self._pair(int(indices[row]))
                    break
                except UnreadablePair as error:
                    lost += attempt == 0
                    self._name(error, int(indices[row]))
                    indices[one] = self.order.substitutes(positions[one], attempt)
            else:
                raise DataError(
                    f"{self.reader.home}: {_ATTEMPTS} pairs in a row are unreadable, at position {positions[row]}. "
                    f"{self.reader.remedy}"
                )
            pixels[row] = self._pixels(image, epochs[one], indices[one])
        return Batch(torch.from_numpy(pixels), tokens, indices, lost)

    def _pair(self, number: int) -> tuple[Image.Image, Tensor]:
        image, caption = self.reader.read(number)
        return decode_image(image), self._tokens(decode_caption(caption))

    def _pixels(self, image: Image.Image, epoch: Indices, index: Indices) -> NDArray[np.uint8]:
        size, scale = self.form.image_size, self.form.crop_scale
        if scale is not None:
            box = crop_boxes(scale, self.order.seed, epoch, index, np.array([image.size]))[0]
            return fit(image, size, box)
        return squared(image, size)  # as data/packed.py does: the same bits either way

    def _name(self, error: UnreadablePair, number: int) -> None:
        self.named += 1
        if self.named <= _NAMED:
            log.warning(f"{self.reader.home}: pair {number} is unreadable and another is taken: {error}")


class _Parts(IterableDataset[Any]):
    """In worker w of W: its part of each step's batch, from a first step on, without end."""

    def __init__(self, decoder: Decoder, first: Indices, advance: int, ranks: int) -> None:
        self.decoder, self.first, self.advance, self.ranks = decoder, first, advance, ranks

    def __iter__(self) -> Iterator[Batch | DataError]:
        info = get_worker_info()
        assert info is not None, "runs in a DataLoader's worker"
        positions = self.first
        while True:
            mine = positions[worker_of(positions, self.ranks, info.num_workers) == info.id]
            try:
                yield self.decoder.decode(mine)
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
    depends on neither. DataError where a whole shard is missing.
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
    ) -> None:
        self.order, self.workers, self.ranks, self.batch_size = order, workers, ranks, batch_size
        self.reader = reader
        if reader.pairs != order.pairs:
            raise DataError(f"{reader.home}: {reader.pairs} pairs, the order is of {order.pairs}")
        if order.readers is None and any(is_url(entry.path) for entry in reader.shards):
            log.warning(f"{reader.home}: shards at URLs, and a full shuffle reads all of them: set recipe.readers")
        self.decoder = Decoder(self.reader, merges, order, form)
        self._forks = KillableForks()
        self._parts: Any = None
        self._next: Indices | None = None

    def batch(self, positions: Indices) -> Batch:
        """The pairs at these positions: a rank's share of a step. Steps in a row are decoded ahead."""
        if not self.workers:
            return self.decoder.decode(positions)
        if self._parts is None or self._next is None or not np.array_equal(positions, self._next):
            self.close()
            self._parts = self._start(positions)
        self._next = positions + self.batch_size
        whose = worker_of(positions, self.ranks, self.workers)
        parts: list[Batch] = []
        for _ in range(self.workers):  # the loader gives the workers' parts in turn
            parts.append(self._next_part())
        pixels = torch.empty((len(positions), *parts[0].pixels.shape[1:]), dtype=torch.uint8)
        tokens = torch.empty((len(positions), parts[0].tokens.shape[1]), dtype=torch.int64)
        indices = np.empty(len(positions), dtype=np.int64)
        for worker, part in enumerate(parts):
            rows = np.flatnonzero(whose == worker)
            pixels[rows], tokens[rows], indices[rows] = part.pixels, part.tokens, part.indices
        return Batch(pixels, tokens, indices, sum(part.lost for part in parts))

    def _next_part(self) -> Batch:
        try:
            part = next(self._parts)
        except Exception:
            if not self._forks.has_lost_one(seconds=1.0):
                raise
            self.close()
            raise worker_was_killed("Give the cell more `mem_mb`, or set fewer resources.train.workers") from None
        if isinstance(part, DataError):
            self.close()
            raise part
        return part

    def _start(self, positions: Indices) -> Iterator[Batch | DataError]:
        self._forks = KillableForks()
        loader = DataLoader(
            _Parts(self.decoder, positions, self.batch_size, self.ranks),
            batch_size=None,
            num_workers=self.workers,
            collate_fn=_same,
            worker_init_fn=_leave_signals_to_the_rank,
            multiprocessing_context=self._forks,
            generator=torch.Generator(),  # its own: the loader draws a seed, and the run's must not move
        )
        before = signal.getsignal(signal.SIGCHLD)
        parts = iter(loader)
        if signal.getsignal(signal.SIGCHLD) is not before:
            # torch's handler raises an error wherever the run then is; the loader itself looks every five seconds.
            signal.signal(signal.SIGCHLD, before)
        return parts

    def close(self) -> None:
        """End the workers and close the shards."""
        if self._parts is not None:
            if self._forks.has_lost_one():
                # The loader's own way out could wait for a lock that the killed worker held.
                self._forks.end()
                self._parts._shutdown = True
            else:
                # Not left to the garbage collector: the frames of an error keep the loader, and Python waits for it.
                self._parts._shutdown_workers()
        self._parts = self._next = None
        self.reader.close()


def _same(part: Any) -> Any:
    return part


def _leave_signals_to_the_rank(worker: int) -> None:
    # Slurm signals every process of a step; the rank still needs batches to come to its step's end.
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
