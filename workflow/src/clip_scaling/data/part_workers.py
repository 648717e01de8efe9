"""Processes that make batches ahead, each its part of every batch, straight into memory that all of them share."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from .shared_batches import SharedBatches
from .workers import KillableForks, worker_was_killed

AHEAD = 2
"""Batches that workers have ready, or are making, beside the one in use."""


class PartWorkers:
    """Workers forked from this process, that go through `parts` until it ends.

    parts: gives in worker w its part of each batch, one item a batch; its rows it writes into `batches`, which has
    AHEAD + 1 places: while a batch is in use the workers write later ones into the others. is_for_gpu: the batches are
    pinned. remedy: what to change where a worker was killed, without a full stop.
    """

    def __init__(
        self,
        parts: IterableDataset[Any],
        workers: int,
        batches: SharedBatches,
        remedy: str,
        *,
        is_for_gpu: bool = False,
    ) -> None:
        assert batches.count == AHEAD + 1, "a place for each batch that may be written, and for the one in use"
        self.workers, self.batches, self.remedy = workers, batches, remedy
        self._forks = KillableForks()
        loader = DataLoader(
            parts,
            batch_size=None,
            num_workers=workers,
            prefetch_factor=AHEAD,
            collate_fn=_same,
            worker_init_fn=_leave_signals_to_the_parent,
            multiprocessing_context=self._forks,
            generator=torch.Generator(),  # its own: the loader draws a seed, and the run's must not move
        )
        before = signal.getsignal(signal.SIGCHLD)
        self._parts: Any = iter(loader)
        if signal.getsignal(signal.SIGCHLD) is not before:
            # torch's handler raises an error wherever the run then is; the loader itself looks every five seconds.
            signal.signal(signal.SIGCHLD, before)
        if is_for_gpu:
            batches.pin()

    def next_batch(self) -> Iterator[Any]:
        """Yield the workers' items of the next batch, in the order of the workers. DataError where one was killed."""
        return (self._next_part() for _ in range(self.workers))

    def _next_part(self) -> Any:
        try:
            return next(self._parts)
        except Exception:
            if not self._forks.has_lost_one(seconds=1.0):
                raise
            self.close()
            raise worker_was_killed(self.remedy) from None

    def close(self) -> None:
        """End the workers."""
        if self._parts is None:
            return
        if self._forks.has_lost_one():
            # The loader's own way out could wait for a lock that the killed worker held.
            self._forks.end()
            self._parts._shutdown = True
        else:
            # Not left to the garbage collector: the frames of an error keep the loader, and Python waits for it.
            self._parts._shutdown_workers()
        self._parts = None
        self.batches.close()


def _same(part: Any) -> Any:
    return part


def _leave_signals_to_the_parent(worker: int) -> None:
    # Slurm signals every process of a step; the parent still needs batches to come to its step's end.
    for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
