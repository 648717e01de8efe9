"""Batches that come ahead of the encoder are those that are read, in their order."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest
import torch

from clip_scaling.data.evaluation_sets.read import ImageBatch
from clip_scaling.errors import EvaluationError
from clip_scaling.evaluate.ahead import AHEAD, ahead, copied_ahead
from clip_scaling.models.side_stream import SideStream

CPU = torch.device("cpu")


class Reader:
    """Batches in one buffer that is used again; fails at one. Remembers how many were read, and by whom the first."""

    def __init__(self, count: int, fails_at: int | None = None) -> None:
        self.count, self.fails_at, self.read, self.is_closed = count, fails_at, 0, False
        self.first: threading.Thread | None = None

    def batches(self) -> Generator[ImageBatch]:
        buffer = torch.zeros(2, 4, 4, 3, dtype=torch.uint8)
        try:
            for number in range(self.count):
                self.first = self.first or threading.current_thread()
                if number == self.fails_at:
                    raise EvaluationError("a sample is broken")
                self.read += 1
                yield ImageBatch(buffer.fill_(number), [number, number], [], number, is_lent=True)
        finally:
            self.is_closed = True


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_batches_keep_their_order_and_have_memory_of_their_own(count: int) -> None:
    reader = Reader(count)
    found = list(copied_ahead(reader.batches(), SideStream(CPU)))
    assert [int(batch.pixels[0, 0, 0, 0]) for batch in found] == [batch.skipped for batch in found] == [*range(count)]
    assert not any(batch.is_lent for batch in found) and reader.is_closed
    assert reader.first in (None, threading.main_thread())  # it may fork workers


def test_no_more_are_read_than_are_ready_beside_the_one_in_use() -> None:
    reader = Reader(20)
    batches = copied_ahead(reader.batches(), SideStream(CPU))
    next(batches)
    next(batches)
    batches.close()
    assert reader.read <= 2 + AHEAD and reader.is_closed


def test_an_error_comes_where_its_batch_would() -> None:
    batches = copied_ahead(Reader(5, fails_at=2).batches(), SideStream(CPU))
    assert [next(batches).skipped, next(batches).skipped] == [0, 1]
    with pytest.raises(EvaluationError, match="a sample is broken"):
        next(batches)


def test_a_cpu_gets_the_batches_as_they_are() -> None:
    batches = Reader(1).batches()
    assert ahead(batches, CPU) is batches


@pytest.mark.gpu
def test_a_gpu_has_the_pixels_before_they_are_asked_for() -> None:
    found = list(ahead(Reader(7).batches(), torch.device("cuda")))
    assert all(batch.pixels.is_cuda for batch in found)
    assert [int(batch.pixels.float().mean()) for batch in found] == [*range(7)]
