"""A rank's batch cut into micro-batches, of which one at a time is floats."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import torch

from ..models.build import normalise
from .inputs import Batch
from .objective import MicroBatch
from .order import key


class MicroBatches(Sequence[MicroBatch]):
    """Micro-batches on a device. Pixels stay uint8 until a micro-batch is asked for.

    count: number of micro-batches. seeds: (seed of the run, number of the batch, rank), of which their draws follow.
    """

    def __init__(self, batch: Batch, count: int, device: torch.device, seeds: tuple[int, int, int]) -> None:
        self.pixels = batch.pixels.to(device, non_blocking=True).chunk(count)
        self.tokens = batch.tokens.to(device, non_blocking=True).chunk(count)
        self.seeds = seeds

    def __len__(self) -> int:
        return len(self.tokens)

    @overload
    def __getitem__(self, number: int) -> MicroBatch: ...
    @overload
    def __getitem__(self, number: slice) -> list[MicroBatch]: ...
    def __getitem__(self, number: int | slice) -> MicroBatch | list[MicroBatch]:
        if isinstance(number, slice):
            return [self[place] for place in range(*number.indices(len(self)))]
        return MicroBatch(normalise(self.pixels[number]), self.tokens[number], int(key(*self.seeds, number)) >> 1)
