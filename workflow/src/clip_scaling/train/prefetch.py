"""Batches got ready ahead by a thread, on a GPU's memory before they are asked for."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import torch

from ..models.side_stream import SideStream
from .inputs import Batch, Input
from .order import Indices

AHEAD = 2
"""Batches that are ready, or being made so, beside the one in use."""


class Prefetch:
    """An input whose batches come ahead of the steps.

    A thread asks `inner` for the batches of the steps to come, and copies their pixels to the device on a stream of
    its own; tokens, which are few, stay in pinned memory. The steps wait for nothing but a batch that is late.
    batch_size: of all ranks, from which the positions of the steps to come follow.
    """

    def __init__(self, inner: Input, batch_size: int, device: torch.device, ahead: int = AHEAD) -> None:
        self.inner, self.order, self.batch_size, self.device, self.ahead = inner, inner.order, batch_size, device, ahead
        self.stream = SideStream(device)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prefetch")
        self._coming: deque[tuple[Indices, Future[Batch]]] = deque()

    def batch(self, positions: Indices) -> Batch:
        """The pairs at these positions. Steps in a row are got ready ahead."""
        if self._coming and np.array_equal(positions, self._coming[0][0]):
            future = self._coming.popleft()[1]
            self._ask(positions)
            batch = future.result()
        else:
            self._forget()
            # Asked for by this thread: the first batch may fork workers, which a second thread should not do.
            batch = self._staged(positions)
            self._ask(positions)
        self.stream.hand_over(batch.pixels)
        return batch

    def _ask(self, positions: Indices) -> None:
        """Let the thread get ready what comes after these positions."""
        for step in range(len(self._coming) + 1, self.ahead + 1):
            later = positions + step * self.batch_size
            self._coming.append((later, self._thread.submit(self._staged, later)))

    def _staged(self, positions: Indices) -> Batch:
        """A batch whose memory is its own: `inner` may use its arrays again."""
        batch = self.inner.batch(positions)
        tokens = batch.tokens.pin_memory() if self.device.type == "cuda" else batch.tokens.clone()
        return replace(batch, pixels=self.stream.copy(batch.pixels), tokens=tokens)

    def _forget(self) -> None:
        for _, future in self._coming:
            future.cancel()
        for _, future in self._coming:
            if not future.cancelled():
                future.exception()  # wait: `inner` serves one thread at a time
        self._coming.clear()

    def close(self) -> None:
        """End the thread and the input."""
        self._forget()
        self._thread.shutdown()
        self.inner.close()
