"""Labelled images of a split, held decoded where they are few, else decoded again each time they are needed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ..data.evaluation_sets.parallel import Decoding, Samples, decoded_batches
from ..data.evaluation_sets.places import sample_places
from ..data.part_workers import AHEAD, PartWorkers
from ..data.shared_batches import SharedBatches
from ..errors import EvaluationError
from ..models.preprocess import Preprocess

HELD_BYTES = 512e6
"""A split whose decoded pixels take no more is held."""
Pixels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class LabelledImages:
    """Images in memory and their classes. pixels: (n, size, size, 3) uint8. labels: (n,) int64."""

    pixels: Tensor
    labels: Tensor

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.pixels.shape[1]

    def rows(self, rows: Any) -> LabelledImages:
        """Select images."""
        index = rows if isinstance(rows, slice) else torch.as_tensor(rows)
        return LabelledImages(self.pixels[index], self.labels[index])

    def image(self, row: int) -> Pixels:
        """Pixels of one image."""
        return self.pixels[row].numpy()


@dataclass(frozen=True)
class StreamedImages:
    """Images that are decoded when they are needed. numbers: (n,) of the samples. labels: (n,) int64, their classes."""

    samples: Samples
    numbers: Tensor
    labels: Tensor

    @property
    def size(self) -> int:
        """Pixels a side."""
        return self.samples.preprocess.size

    def rows(self, rows: Any) -> StreamedImages:
        """Select images."""
        index = rows if isinstance(rows, slice) else torch.as_tensor(rows)
        return replace(self, numbers=self.numbers[index], labels=self.labels[index])

    def image(self, row: int) -> Pixels:
        """Decode one image. EvaluationError where it cannot be read."""
        pixels = np.empty((self.size, self.size, 3), np.uint8)
        found = self.samples.decode(int(self.numbers[row]), pixels)
        if found.error is not None:
            raise found.error
        return pixels


Images: TypeAlias = LabelledImages | StreamedImages


def read_images(folder: Path, split: str, preprocess: Preprocess, workers: int) -> Images:
    """Read a labelled split: pixels where they are few enough to be held, else labels alone."""
    places = sample_places(folder, split)
    if places is None or len(places) * 3 * preprocess.size**2 <= HELD_BYTES:
        with closing(decoded_batches(folder, preprocess, Decoding(512, workers), split)) as batches:
            kept = [batch.kept() for batch in batches]
        labels = torch.tensor([label for batch in kept for label in batch.labels])
        return LabelledImages(torch.cat([batch.pixels for batch in kept]), labels)
    samples = Samples(folder, split, places, preprocess)
    labels = torch.tensor([samples.label(number) for number in range(len(samples))])
    return StreamedImages(samples, torch.arange(len(samples)), labels)


class Plan(Protocol):
    """Batches of pixels that follow from their number."""

    size: int
    batch_size: int

    def __len__(self) -> int:
        """Number of batches."""
        ...

    def count(self, number: int) -> int:
        """Images of a batch."""
        ...

    def pixels(self, number: int, rows: range) -> Iterator[Pixels]:
        """Pixels of some rows of a batch."""
        ...


class InOrder:
    """All images, each as it is."""

    def __init__(self, images: Images, batch_size: int) -> None:
        self.images, self.size, self.batch_size = images, images.size, batch_size

    def __len__(self) -> int:
        return -(-len(self.images.labels) // self.batch_size)

    def count(self, number: int) -> int:
        """Images of a batch."""
        return min(self.batch_size, len(self.images.labels) - number * self.batch_size)

    def pixels(self, number: int, rows: range) -> Iterator[Pixels]:
        """Pixels of some rows of a batch."""
        return (self.images.image(number * self.batch_size + row) for row in rows)


def made_batches(plan: Plan, first: int, workers: int, *, is_for_gpu: bool = False) -> Generator[Tensor]:
    """Yield the batches of a plan from `first` on: (n, size, size, 3) uint8, which hold until the next one.

    workers: processes that make them ahead; 0: this one. EvaluationError where an image cannot be read.
    """
    if not workers:
        for number in range(first, len(plan)):
            yield torch.from_numpy(np.stack(list(plan.pixels(number, range(plan.count(number))))))
        return
    batches = SharedBatches(AHEAD + 1, plan.batch_size, plan.size, 0)
    remedy = "Give the fine-tuning more `mem_mb`, or fewer workers"
    parts = PartWorkers(_Parts(plan, batches, first), workers, batches, remedy, is_for_gpu=is_for_gpu)
    try:
        for place, number in enumerate(range(first, len(plan))):
            for error in parts.next_batch():
                if error is not None:
                    raise error
            yield torch.from_numpy(batches[place].pixels)[: plan.count(number)]
    finally:
        parts.close()


class _Parts(IterableDataset[Any]):
    """In worker w of W: every W-th row of each batch, from row w on."""

    def __init__(self, plan: Plan, batches: SharedBatches, first: int) -> None:
        self.plan, self.batches, self.first = plan, batches, first

    def __iter__(self) -> Iterator[EvaluationError | None]:
        info = get_worker_info()
        assert info is not None, "runs in a DataLoader's worker"
        for place, number in enumerate(range(self.first, len(self.plan))):
            rows = range(info.id, self.plan.count(number), info.num_workers)
            try:
                for row, pixels in zip(rows, self.plan.pixels(number, rows), strict=True):
                    self.batches[place].pixels[row] = pixels
                yield None
            except EvaluationError as error:  # as a value: raised here, its message would become a traceback
                yield error
                return
