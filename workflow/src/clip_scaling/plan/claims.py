"""Folders of results/data that a driver is about to make: one driver makes each, the others wait and use it."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import IO


class Claims:
    """The folders below `root` that this driver makes, each by a lock that goes with its process."""

    def __init__(self, root: Path, study: str) -> None:
        self.root, self.study = root, study
        self._held: dict[str, IO[str]] = {}

    def take(self, names: Iterable[str]) -> str | None:
        """Claim all folders or none; the first that another driver holds."""
        for name in sorted(names):
            lock = self._open(name)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                self.release(*self._held)
                return name
            lock.truncate(0)
            lock.write(f"study {self.study!r}, process {os.getpid()} on {socket.gethostname()}")
            lock.flush()
            self._held[name] = lock
        return None

    def holder(self, name: str) -> str:
        """Who holds a folder, as its lock says."""
        with self._open(name) as lock:
            lock.seek(0)
            return lock.read() or "another study"

    def wait(self, name: str) -> None:
        """Wait until no driver holds a folder."""
        with self._open(name) as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)

    def release(self, *names: str) -> None:
        """Let others have folders, which are made."""
        for name in names:
            self._held.pop(name).close()

    @property
    def held(self) -> list[str]:
        """The folders that are claimed."""
        return list(self._held)

    def _open(self, name: str) -> IO[str]:
        self.root.mkdir(parents=True, exist_ok=True)
        return open(self.root / f".{name}.lock", "a+", encoding="utf-8")


def folders_of(outputs: Iterable[str], root: str) -> set[str]:
    """Names of the folders below `root` that files lie in."""
    return {path.removeprefix(f"{root}/").split("/", 1)[0] for path in outputs if path.startswith(f"{root}/")}
