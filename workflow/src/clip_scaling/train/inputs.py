"""Where batches come from: one interface for pairs mapped into memory and for pairs streamed from tars."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
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
    to its end of text, both ends included; made from tokens on the CPU where they are not given. boxes: (n, 4) int64
    on the CPU, the crop of each image that is still to be made, as left, upper, right, lower; None where none is.
    """

    pixels: Tensor
    tokens: Tensor
    indices: Indices
    lost: int = 0
    lengths: Tensor = None  # type: ignore[assignment]
    boxes: Tensor | None = None

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
        """The pairs at these positions of the order. The next call may use the memory of pixels and tokens again."""
        ...

    def close(self) -> None:
        """End what the input has started."""
        ...


GATHERERS = 4
"""Threads that gather packed rows for a GPU."""


class PackedInput:
    """Pairs of a packed data set: a memory map that all jobs on a node share.

    crop_scale: as in the recipe. device: of the training. For a GPU rows are gathered by threads into pinned memory,
    and crops are left to it; a CPU is faster by one thread and Pillow.
    """

    def __init__(
        self,
        pairs: PackedPairs,
        order: Order,
        crop_scale: tuple[float, float] | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.pairs, self.order, self.crop_scale = pairs, order, crop_scale
        self.is_for_gpu = device is not None and device.type == "cuda"
        self.threads = ThreadPoolExecutor(GATHERERS, thread_name_prefix="gather") if self.is_for_gpu else None

    def batch(self, positions: Indices) -> Batch:
        """The pairs at these positions."""
        indices = self.order.indices(positions)
        pixels = gather(self.pairs.pixels, indices, self.threads, is_pinned=self.is_for_gpu)
        boxes = self._boxes(positions, indices)
        if boxes is not None and not self.is_for_gpu:
            rows = pixels.numpy()
            for row, box in enumerate(boxes):
                rows[row] = fit(Image.fromarray(rows[row]), rows.shape[1], box)
            boxes = None
        tokens = torch.from_numpy(self.pairs.tokens[indices].astype(np.int64))
        return Batch(pixels, tokens, indices, boxes=None if boxes is None else torch.from_numpy(boxes))

    def _boxes(self, positions: Indices, indices: Indices) -> Indices | None:
        if self.crop_scale is None:
            return None
        sizes = np.full((len(indices), 2), self.pairs.manifest.image_size)
        return crop_boxes(self.crop_scale, self.order.seed, self.order.epochs(positions), indices, sizes)

    def close(self) -> None:
        """End the threads."""
        if self.threads is not None:
            self.threads.shutdown()


def gather(
    rows: NDArray[np.uint8], indices: Indices, threads: ThreadPoolExecutor | None = None, *, is_pinned: bool = False
) -> Tensor:
    """Copy the rows at these indices: (n, ...) of their type.

    numpy's `take` lets go of the interpreter while it copies, so that threads work side by side and beside the steps.
    """
    plain = rows.view(np.ndarray)
    out = torch.empty((len(indices), *rows.shape[1:]), dtype=torch.uint8, pin_memory=is_pinned)
    target = out.numpy()

    def take(part: slice) -> None:
        # `clip` writes into `out` itself, `raise` into a copy; the order gives no index that is out of bounds.
        plain.take(indices[part], axis=0, out=target[part], mode="clip")

    if threads is None:
        take(slice(None))
    else:
        edges = np.linspace(0, len(indices), GATHERERS + 1).astype(int)
        list(threads.map(take, map(slice, edges[:-1], edges[1:])))
    return out
