"""Where batches come from: one interface for pairs mapped into memory and for pairs streamed from tars."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..data.shards.packed import PackedPairs
from .augment import crop_boxes, fit
from .order import Indices, Order


@dataclass(frozen=True)
class Batch:
    """A rank's share of a global batch.

    pixels: (n, height, width, 3) uint8. tokens: (n, context) int64. indices: (n,) the pairs that were really read.
    lost: how many pairs could not be read and were replaced. lengths: (n,) int64 on the CPU, tokens of each caption
    to its end of text, both ends included; made from tokens on the CPU where they are not given.
    """

    pixels: Tensor
    tokens: Tensor
    indices: Indices
    lost: int = 0
    lengths: Tensor = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        if self.lengths is None:
            object.__setattr__(self, "lengths", caption_lengths(self.tokens))


def caption_lengths(tokens: Tensor) -> Tensor:
    """Tokens of each caption to its end of text, (n,) int64.

    The end of text is a vocabulary's last token, by which open_clip pools too. A row without one counts whole only if
    its largest token stands last.
    """
    return tokens.argmax(dim=-1) + 1


class Input(Protocol):
    """Gives the batches of a rank. A rank asks for its positions in growing order."""

    order: Order

    def batch(self, positions: Indices) -> Batch:
        """The pairs at these positions of the order."""
        ...

    def close(self) -> None:
        """End what the input has started."""
        ...


class PackedInput:
    """Pairs of a packed data set: a memory map that all jobs on a node share."""

    def __init__(self, pairs: PackedPairs, order: Order, crop_scale: tuple[float, float] | None = None) -> None:
        self.pairs, self.order, self.crop_scale = pairs, order, crop_scale

    def batch(self, positions: Indices) -> Batch:
        """The pairs at these positions."""
        indices = self.order.indices(positions)
        pixels = self.pairs.pixels[indices]
        if self.crop_scale is not None:
            size = pixels.shape[1]
            epochs = self.order.epochs(positions)
            sizes = np.full((len(indices), 2), size)
            boxes = crop_boxes(self.crop_scale, self.order.seed, epochs, indices, sizes)
            for row, box in enumerate(boxes):
                pixels[row] = fit(Image.fromarray(pixels[row]), size, box)
        tokens = torch.from_numpy(self.pairs.tokens[indices].astype(np.int64))
        return Batch(torch.from_numpy(pixels), tokens, indices)

    def close(self) -> None:
        """Nothing to end."""
