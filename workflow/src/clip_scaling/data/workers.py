"""Worker processes: a map over items in order, and forks that can be ended although they ignore TERM."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing import popen_fork, popen_spawn_posix
from multiprocessing.connection import wait
from multiprocessing.context import ForkContext, ForkProcess, SpawnContext, SpawnProcess
from multiprocessing.process import BaseProcess
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
    # Not multiprocessing.Pool, which waits for ever for a worker that was killed. spawn: a fork would share this
    # process's memory and locks. Killable: the jobs of a cluster ignore SIGTERM so that they can save.
    spawns = KillableSpawns()
    pool = ProcessPoolExecutor(workers, mp_context=spawns)
    try:
        yield partial(pool.map, chunksize=chunk)
    except BrokenProcessPool:
        # A worker that was just being started when another was killed is ended by nobody else, and waited for.
        spawns.end()
        raise worker_was_killed("Give the rule more `mem_mb` or fewer cores") from None
    finally:
        pool.shutdown(cancel_futures=True)


def worker_was_killed(remedy: str) -> DataError:
    """The error where a worker process ended by a signal. remedy: what to change, without a full stop."""
    return DataError(
        "a worker process was killed, most likely for its memory",
        remedy=f"{remedy}, and run the same command again.",
    )


class _Watched:
    """The processes of a context, with a way to ask whether one was killed."""

    def __init__(self) -> None:
        self.started: list[BaseProcess] = []

    def has_lost_one(self, seconds: float = 0.0) -> bool:
        """Whether a signal ended one of the processes that were started.

        seconds: to wait for it: a process that is killed is seen by its closed pipes before it has ended.
        """
        processes = self._begun()
        ended = wait([process.sentinel for process in processes], seconds)
        for process in processes:
            if process.sentinel in ended:
                process.join()
        return any((process.exitcode or 0) < 0 for process in processes)

    def end(self) -> None:
        """End all processes now."""
        for process in self._begun():
            process.kill()
            process.join()

    def _begun(self) -> list[BaseProcess]:
        """The processes without those that another thread has made and not started yet."""
        return [process for process in self.started if process.pid is not None]


class KillableForks(_Watched, ForkContext):
    """Forks that are ended by KILL, where others are by TERM: for workers that leave TERM to their parent.

    Without it a library's clean-up, or Python's own at its exit, waits for them for ever.
    """

    def Process(self, *arguments: Any, **options: Any) -> ForkProcess:  # type: ignore[override]
        """Make a process, not started yet."""
        process = _KillableFork(*arguments, **options)
        self.started.append(process)
        return process


class KillableSpawns(_Watched, SpawnContext):
    """Fresh processes that are ended by KILL, as `KillableForks`."""

    def Process(self, *arguments: Any, **options: Any) -> SpawnProcess:  # type: ignore[override]
        """Make a process, not started yet."""
        process = _KillableSpawn(*arguments, **options)
        self.started.append(process)
        return process


class _KillableFork(ForkProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        return _KilledFork(process_obj)


class _KillableSpawn(SpawnProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> Any:
        return _KilledSpawn(process_obj)


class _KilledFork(popen_fork.Popen):
    def terminate(self) -> None:
        """End the process by KILL."""
        self.kill()


class _KilledSpawn(popen_spawn_posix.Popen):
    def terminate(self) -> None:
        """End the process by KILL."""
        self.kill()
