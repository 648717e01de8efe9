"""Features of an evaluation set. Each image and each caption is encoded once; every metric follows from features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..data.evaluation_sets.read import ImageBatch
from ..errors import EvaluationError
from ..models.encode import Encoder


@dataclass(frozen=True)
class Features:
    """Unit vectors of a set.

    images: (n, dim). labels: (n,) classes, or (n, classes) of 0 and 1. texts: (m, dim), each of image `owners[i]`.
    skipped: () number of samples that could not be read and were left out.
    """

    images: Tensor
    labels: Tensor
    texts: Tensor
    owners: Tensor
    skipped: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.long))


def encode_set(encoder: Encoder, batches: Iterator[ImageBatch]) -> Features:
    """Encode a set's images and captions, each once."""
    images: list[Tensor] = []
    texts: list[Tensor] = []
    labels: list[int | list[int]] = []
    owners: list[int] = []
    first = skipped = 0
    for batch in batches:
        skipped += batch.skipped
        images.append(encoder.images(batch.pixels))
        labels += batch.labels
        if batch.captions:
            texts.append(encoder.texts([line for captions in batch.captions for line in captions]))
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
    )
