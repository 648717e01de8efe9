"""A rank's batch cut into micro-batches, of which one at a time is floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from ..models.build import normalise
from ..models.text_tower import Captions
from .inputs import Batch
from .objective import MicroBatch
from .order import key
from .resample import resample


class MicroBatches(Sequence[MicroBatch]):
    """Micro-batches on a device. Pixels stay uint8 until a micro-batch is asked for; then boxes are cropped too.

    texts: what the text tower takes of each micro-batch, on the device. seeds: (seed of the run, number of the batch,
    rank), of which the micro-batches' draws follow.
    """

    def __init__(
        self, batch: Batch, texts: Sequence[Tensor | Captions], device: torch.device, seeds: tuple[int, int, int]
    ) -> None:
        self.pixels = batch.pixels.to(device, non_blocking=True).chunk(len(texts))
        self.boxes = None if batch.boxes is None else batch.boxes.chunk(len(texts))
        self.texts, self.seeds = texts, seeds

    def __len__(self) -> int:
        return len(self.pixels)

    @overload
    def __getitem__(self, number: int) -> MicroBatch: ...
    @overload
    def __getitem__(self, number: slice) -> list[MicroBatch]: ...
    def __getitem__(self, number: int | slice) -> MicroBatch | list[MicroBatch]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        pixels = self.pixels[number]
        if self.boxes is not None:
            pixels = resample(pixels, self.boxes[number], pixels.shape[1])
        return MicroBatch(normalise(pixels), self.texts[number], int(key(*self.seeds, number)) >> 1)
