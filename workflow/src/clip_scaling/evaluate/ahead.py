"""Batches of an evaluation that are on the GPU before they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from ..data.evaluation_sets.read import ImageBatch
from ..models.side_stream import SideStream

AHEAD = 2
"""Batches that are ready, or being made so, beside the one in use."""
Batch = TypeVar("Batch", ImageBatch, Tensor)


def ahead(batches: Generator[Batch], device: torch.device) -> Generator[Batch]:
    """Yield the same batches with pixels on the device, copied by a thread beside its work; on a CPU, as they are."""
    return batches if device.type == "cpu" else copied_ahead(batches, SideStream(device))


def copied_ahead(batches: Generator[Batch], stream: SideStream) -> Generator[Batch]:
    """Yield copies of batches that a thread makes ahead."""

    def take() -> Batch | None:
        batch = next(batches, None)
        if isinstance(batch, ImageBatch):
            return replace(batch, pixels=stream.copy(batch.pixels), is_lent=False)
        return None if batch is None else stream.copy(batch)

    # By this thread: the first batch may fork workers, which a second thread should not do.
    batch = take()
    thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    coming: deque[Future[Batch | None]] = deque(thread.submit(take) for _ in range(AHEAD))
    try:
        while batch is not None:
            stream.hand_over(batch.pixels if isinstance(batch, ImageBatch) else batch)
            yield batch
            batch = coming.popleft().result()
            coming.append(thread.submit(take))
    finally:
        for future in coming:
            future.cancel()
        thread.shutdown()
        batches.close()
