"""Features of an evaluation set. Each image and each caption is encoded once; every metric follows from features."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..data.evaluation_sets.read import ImageBatch
from ..errors import EvaluationError
from ..models.encode import Encoder

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Features:
    """Unit vectors of a set.

    images: (n, dim). labels: (n,) classes, or (n, classes) of 0 and 1. texts: (m, dim), each of image `owners[i]`.
    skipped: () number of samples that could not be read and were left out. halved_to: () images a forward pass where
    the GPU's memory was full with more, else 0.
    """

    images: Tensor
    labels: Tensor
    texts: Tensor
    owners: Tensor
    skipped: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.long))
    halved_to: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.long))


class _Halving:
    """Encoding in the largest part of a batch that the GPU's memory takes. size: rows of it; None: the whole batch."""

    def __init__(self) -> None:
        self.size: int | None = None

    def encode(self, encode: Callable[[Any], Tensor], rows: Any) -> Tensor:
        """Encode all rows. EvaluationError where one by itself is too much."""
        while True:
            size = self.size or len(rows)
            try:
                parts = [encode(rows[begin : begin + size]) for begin in range(0, len(rows), size)]
                return parts[0] if len(parts) == 1 else torch.cat(parts)
            except torch.OutOfMemoryError as error:
                if size == 1:
                    raise EvaluationError(
                        "the GPU's memory is full with one image or text", remedy="Give the job a GPU with more memory."
                    ) from error
                self.size = size // 2
            torch.cuda.empty_cache()
            log.warning(
                f"the GPU's memory is full with {size} images or texts a forward pass: {self.size} from here on"
            )


def encode_set(encoder: Encoder, batches: Iterator[ImageBatch]) -> Features:
    """Encode a set's images and captions, each once."""
    images: list[Tensor] = []
    texts: list[Tensor] = []
    labels: list[int | list[int]] = []
    owners: list[int] = []
    first = skipped = 0
    pictures, lines = _Halving(), _Halving()
    for batch in batches:
        skipped += batch.skipped
        images.append(pictures.encode(encoder.images, batch.pixels))
        labels += batch.labels
        if batch.captions:
            texts.append(lines.encode(encoder.texts, [line for captions in batch.captions for line in captions]))
            owners += [first + row for row, captions in enumerate(batch.captions) for _ in captions]
        first += len(batch.pixels)
    if not images:
        raise EvaluationError("an evaluation set without images", remedy="Prepare it again.")
    return Features(
        torch.cat(images),
        torch.tensor(labels, dtype=torch.long),
        torch.cat(texts) if texts else torch.empty(0, images[0].shape[1]),
        torch.tensor(owners, dtype=torch.long),
        torch.tensor(skipped),
        torch.tensor(pictures.size or 0),
    )
