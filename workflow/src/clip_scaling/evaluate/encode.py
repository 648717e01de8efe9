"""Evaluation sets in clip-benchmark's webdataset layout, and the features of their images, captions and classes.

Each image and each caption is encoded once; every metric is then computed from features (`metrics.py`).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import webdataset
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from ..errors import EvaluationError
from ..train.model import normalise

Tokenizer = Callable[[str | list[str]], Tensor]
IMAGE_TYPES = ("png", "jpg", "jpeg", "webp")


@dataclass(frozen=True)
class ImageBatch:
    """pixels: (n, size, size, 3) uint8. labels: a class an image, or a 0 or 1 a class. captions: lines of each text."""

    pixels: Tensor
    labels: list[int | list[int]]
    captions: list[list[str]]


@dataclass(frozen=True)
class Features:
    """Unit vectors of a set.

    images: (n, dim). labels: (n,) classes, or (n, classes) of 0 and 1. texts: (m, dim), each of image `owners[i]`.
    """

    images: Tensor
    labels: Tensor
    texts: Tensor
    owners: Tensor


def read_batches(
    folder: Path, image_size: int, batch_size: int, limit: int | None = None, split: str = "test"
) -> Iterator[ImageBatch]:
    """The first `limit` images of a split, in order, resized and cropped as open_clip's evaluation transform does.

    EvaluationError where an image cannot be read.
    """
    shards = int((folder / split / "nshards.txt").read_text())
    urls = [str(folder / split / f"{number}.tar") for number in range(shards)]
    resize = [Resize(image_size, InterpolationMode.BICUBIC), CenterCrop(image_size)]
    pixels: list[Tensor] = []
    labels: list[int | list[int]] = []
    captions: list[list[str]] = []
    count = 0
    for sample in webdataset.WebDataset(urls, shardshuffle=False, empty_check=False):
        pixels.append(_decode(sample, resize, image_size))
        if "cls" in sample:
            labels.append(int(sample["cls"]))
        if "npy" in sample:  # several classes an image
            labels.append(np.load(io.BytesIO(sample["npy"])).astype(int).tolist())
        if "txt" in sample:
            lines = [line for line in sample["txt"].decode("utf-8").splitlines() if line]
            if not lines:
                raise EvaluationError(
                    f"{sample['__url__']}: {sample['__key__']} has no caption. Prepare the set again."
                )
            captions.append(lines)
        count += 1
        if len(pixels) == batch_size or count == limit:
            yield ImageBatch(torch.stack(pixels), labels, captions)
            pixels, labels, captions = [], [], []
        if count == limit:
            return
    if pixels:
        yield ImageBatch(torch.stack(pixels), labels, captions)


def _decode(sample: dict[str, Any], resize: list[Any], size: int) -> Tensor:
    kind = next((kind for kind in IMAGE_TYPES if kind in sample), None)
    place = f"{sample['__url__']}: {sample['__key__']}"
    if kind is None:
        raise EvaluationError(f"{place} has no image ({', '.join(IMAGE_TYPES)}). Prepare the set again.")
    try:
        with Image.open(io.BytesIO(sample[kind])) as opened:
            image = opened.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise EvaluationError(f"{place} cannot be decoded ({error}). Prepare the set again.") from error
    if image.size != (size, size):
        for step in resize:
            image = step(image)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).reshape(size, size, 3)


@torch.no_grad()
def encode_set(
    model: Any,
    tokenizer: Tokenizer,
    batches: Iterator[ImageBatch],
    device: torch.device,
    forward: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> Features:
    """Encode a set's images and captions, each once, in fp32 or in the precision that `forward` sets."""
    images: list[Tensor] = []
    texts: list[Tensor] = []
    labels: list[int | list[int]] = []
    owners: list[int] = []
    for batch in batches:
        first = sum(len(part) for part in images)
        with forward():
            images.append(_unit(model.encode_image(normalise(batch.pixels.to(device)))).cpu())
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
