"""Batches of an evaluation that are on the GPU before they are asked for."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import torch

from ..data.evaluation_sets.read import ImageBatch
from ..models.side_stream import SideStream

AHEAD = 2
"""Batches that are ready, or being made so, beside the one in use."""


def ahead(batches: Generator[ImageBatch], device: torch.device) -> Generator[ImageBatch]:
    """Yield the same batches with pixels on the device, copied by a thread beside its work; on a CPU, as they are."""
    return batches if device.type == "cpu" else _ahead(batches, device)


def _ahead(batches: Generator[ImageBatch], device: torch.device) -> Generator[ImageBatch]:
    stream = SideStream(device)

    def take() -> ImageBatch | None:
        batch = next(batches, None)
        return None if batch is None else replace(batch, pixels=stream.copy(batch.pixels), is_lent=False)

    # By this thread: the first batch may fork workers, which a second thread should not do.
    batch = take()
    thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    coming: deque[Future[ImageBatch | None]] = deque(thread.submit(take) for _ in range(AHEAD))
    try:
        while batch is not None:
            yield replace(batch, pixels=stream.hand_over(batch.pixels))
            batch = coming.popleft().result()
            coming.append(thread.submit(take))
    finally:
        for future in coming:
            future.cancel()
        thread.shutdown()
        batches.close()
