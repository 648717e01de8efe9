"""Worker processes that map a function over items, in order."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..errors import DataError


@contextmanager
def ordered_map(workers: int, chunk: int = 1) -> Iterator[Callable[..., Iterator[Any]]]:
    """Yield a `map` over worker processes, `chunk` items a task, in order; with one worker, in this process.

    DataError where a worker was killed.
    """
    if workers == 1:
        yield map
        return
    # Not multiprocessing.Pool: it ends its workers by SIGTERM, which the jobs of a cluster ignore so that they can
    # save, and waits for ever for one that was killed. spawn: a fork would share this process's memory and locks.
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"))
    try:
        yield partial(pool.map, chunksize=chunk)
    except BrokenProcessPool:
        raise DataError(
            "a worker process was killed, most likely for its memory",
            remedy="Give the rule more `mem_mb` or fewer cores, and run the same command again.",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)
