"""Evaluation sets in clip-benchmark's webdataset layout, and the features of their images, captions and classes.

Each image and each caption is encoded once; every metric is then computed from features (`metrics.py`).
"""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import webdataset
from PIL import Image
from torch import Tensor

from ..errors import EvaluationError
from ..models.build import normalise
from ..models.preprocess import Preprocess

log = logging.getLogger(__name__)

Tokenizer = Callable[[str | list[str]], Tensor]
IMAGE_TYPES = ("png", "jpg", "jpeg", "webp")


@dataclass(frozen=True)
class ImageBatch:
    """pixels: (n, size, size, 3) uint8. labels: a class an image, or a 0 or 1 a class. captions: lines of each text.

    skipped: samples that were left out since the batch before.
    """

    pixels: Tensor
    labels: list[int | list[int]]
    captions: list[list[str]]
    skipped: int = 0


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


@dataclass(frozen=True)
class Sample:
    """One image of a set with what belongs to it."""

    image: Image.Image
    label: int | list[int] | None
    captions: list[str] | None


def read_samples(folder: Path, split: str = "test", on_unreadable: str = "error") -> Iterator[Sample | None]:
    """Every sample of a split, in order. EvaluationError where one cannot be read; None for it under "skip"."""
    shards = int((folder / split / "nshards.txt").read_text())
    urls = [str(folder / split / f"{number}.tar") for number in range(shards)]
    for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False, nodesplitter=_all_shards):
        try:
            yield _read(sample)
        except EvaluationError as error:
            if on_unreadable == "error":
                raise
            log.warning(f"left out: {error}")
            yield None


def _all_shards(urls: Iterable[Any]) -> Iterable[Any]:
    """Every rank of a validation reads the whole set."""
    return urls


def _read(sample: dict[str, Any]) -> Sample:
    kind = next((kind for kind in IMAGE_TYPES if kind in sample), None)
    place = f"{sample['__url__']}: {sample['__key__']}"
    remedy = "Prepare the set again, or set `on_unreadable: skip` in the suite."
    if kind is None:
        raise EvaluationError(f"{place} has no image ({', '.join(IMAGE_TYPES)}). {remedy}")
    try:
        with Image.open(io.BytesIO(sample[kind])) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise EvaluationError(f"{place} cannot be decoded ({error}). {remedy}") from error
    label: int | list[int] | None = None
    captions = None
    try:
        if "cls" in sample:
            label = int(sample["cls"])
        if "npy" in sample:  # several classes an image
            label = np.load(io.BytesIO(sample["npy"])).astype(int).tolist()
        if "txt" in sample:
            captions = [line for line in sample["txt"].decode("utf-8").splitlines() if line]
    except (ValueError, EOFError) as error:
        raise EvaluationError(f"{place}: its label or caption cannot be read ({error}). {remedy}") from error
    if captions == []:
        raise EvaluationError(f"{place} has no caption. {remedy}")
    return Sample(image, label, captions)


def read_batches(
    folder: Path,
    preprocess: Preprocess | int,
    batch_size: int,
    limit: int | None = None,
    split: str = "test",
    on_unreadable: str = "error",
) -> Iterator[ImageBatch]:
    """The first `limit` images of a split, in order, resized and cropped as open_clip's evaluation transform does.

    preprocess: as the model was trained, or pixels a side where that was here.
    EvaluationError where a sample cannot be read, unless on_unreadable is "skip": then it is left out and counted.
    """
    preprocess = Preprocess(preprocess) if isinstance(preprocess, int) else preprocess
    pixels: list[Tensor] = []
    labels: list[int | list[int]] = []
    captions: list[list[str]] = []
    count = skipped = 0
    for sample in read_samples(folder, split, on_unreadable):
        if sample is None:
            skipped += 1
            continue
        pixels.append(preprocess.pixels(sample.image))
        if sample.label is not None:
            labels.append(sample.label)
        if sample.captions is not None:
            captions.append(sample.captions)
        count += 1
        if len(pixels) == batch_size or count == limit:
            yield ImageBatch(torch.stack(pixels), labels, captions, skipped)
            pixels, labels, captions, skipped = [], [], [], 0
        if count == limit:
            return
    if pixels:
        yield ImageBatch(torch.stack(pixels), labels, captions, skipped)


class KeptImages:
    """Decoded images in memory, for the next checkpoint of the same process. cap_mb: beyond it sets are read again."""

    def __init__(self, cap_mb: float = 300) -> None:
        self._left = cap_mb * 1e6
        self._kept: dict[Hashable, list[ImageBatch]] = {}

    def batches(self, key: Hashable, read: Callable[[], Iterator[ImageBatch]]) -> Iterator[ImageBatch]:
        """What `read` gives, which must follow from the key alone."""
        if key in self._kept:
            yield from self._kept[key]
            return
        kept: list[ImageBatch] = []
        size = 0
        for batch in read():
            size += batch.pixels.nbytes
            if size <= self._left:
                kept.append(batch)
            else:
                kept.clear()
            yield batch
        if size <= self._left:
            self._kept[key] = kept
            self._left -= size


@torch.no_grad()
def encode_set(
    model: Any,
    tokenizer: Tokenizer,
    batches: Iterator[ImageBatch],
    device: torch.device,
    forward: Callable[[], AbstractContextManager[None]] = nullcontext,
    scale: Callable[[Tensor], Tensor] = normalise,
) -> Features:
    """Encode a set's images and captions, each once, in fp32 or in the precision that `forward` sets.

    scale: from pixels to what the model takes; the default is that of training here.
    """
    images: list[Tensor] = []
    texts: list[Tensor] = []
    labels: list[int | list[int]] = []
    owners: list[int] = []
    skipped = 0
    for batch in batches:
        first = sum(len(part) for part in images)
        skipped += batch.skipped
        with forward():
            images.append(_unit(model.encode_image(scale(batch.pixels.to(device)))).cpu())
            labels += batch.labels
            if batch.captions:
                lines = [line for captions in batch.captions for line in captions]
                texts.append(_unit(model.encode_text(tokenizer(lines).to(device))).cpu())
                owners += [first + row for row, captions in enumerate(batch.captions) for _ in captions]
    if not images:
        raise EvaluationError("an evaluation set without images. Prepare it again.")
    width = images[0].shape[1]
    return Features(
        torch.cat(images),
        torch.tensor(labels, dtype=torch.long),
        torch.cat(texts) if texts else torch.empty(0, width),
        torch.tensor(owners, dtype=torch.long),
        torch.tensor(skipped),
    )


@torch.no_grad()
def encode_classes(
    model: Any,
    tokenizer: Tokenizer,
    classes: list[str],
    templates: list[str],
    device: torch.device,
    forward: Callable[[], AbstractContextManager[None]] = nullcontext,
    batch_size: int = 1024,
) -> Tensor:
    """One unit vector a class, (classes, dim): the mean of its prompts' unit vectors, as clip-benchmark's."""
    prompts = [template.format(c=name) for name in classes for template in templates]
    rows = []
    for begin in range(0, len(prompts), batch_size):
        with forward():
            rows.append(_unit(model.encode_text(tokenizer(prompts[begin : begin + batch_size]).to(device))).cpu())
    means = torch.cat(rows).reshape(len(classes), len(templates), -1).mean(dim=1)
    return _unit(means)


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.float(), dim=-1)
