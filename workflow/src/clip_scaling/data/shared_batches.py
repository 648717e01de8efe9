"""Batches in memory that worker processes write their rows into, and the rank reads as it stands."""

from __future__ import annotations

import logging
import math
import mmap
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Rows:
    """Where the pairs of a batch are put. pixels: (n, size, size, 3) uint8. tokens: (n, context) int64.

    indices: (n,) int64, the pairs that were really read.
    """

    pixels: NDArray[np.uint8]
    tokens: NDArray[np.int64]
    indices: NDArray[np.int64]

    @classmethod
    def of_own_memory(cls, count: int, size: int, context: int) -> Rows:
        """Rows that belong to this process alone."""
        return cls(
            np.empty((count, size, size, 3), np.uint8), np.empty((count, context), np.int64), np.empty(count, np.int64)
        )


class SharedBatches:
    """Some batches in memory that processes forked later share, used in turn: batch i lies in place i modulo count."""

    def __init__(self, count: int, rows: int, size: int, context: int) -> None:
        self.count = count
        pixels = _shared((count, rows, size, size, 3), np.uint8)
        tokens, indices = _shared((count, rows, context), np.int64), _shared((count, rows), np.int64)
        self._places = [Rows(pixels[place], tokens[place], indices[place]) for place in range(count)]
        self._pixels = torch.from_numpy(pixels)
        self._is_pinned = False

    def __getitem__(self, number: int) -> Rows:
        """The place of a batch, by its number in the order of the steps."""
        return self._places[number % self.count]

    def pin(self) -> None:
        """Let a GPU copy the pixels by itself. Call it after the processes that write them were forked."""
        code = torch.cuda.cudart().cudaHostRegister(self._pixels.data_ptr(), self._pixels.nbytes, 0)
        self._is_pinned = int(code) == 0
        if not self._is_pinned:
            log.warning(f"{self._pixels.nbytes / 1e6:.0f} MB of batches cannot be pinned (CUDA error {int(code)})")

    def close(self) -> None:
        """Give the pinned pages back to the system; the memory goes with the last array that lies in it."""
        if self._is_pinned:
            torch.cuda.cudart().cudaHostUnregister(self._pixels.data_ptr())
            self._is_pinned = False


def _shared(shape: tuple[int, ...], kind: type) -> NDArray[Any]:
    """An array that forked processes share. It is no file: it needs no room in /dev/shm, and leaves nothing behind."""
    memory = mmap.mmap(-1, max(1, math.prod(shape) * np.dtype(kind).itemsize))
    return np.frombuffer(memory, dtype=kind, count=math.prod(shape)).reshape(shape)
