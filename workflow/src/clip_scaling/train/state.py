"""Saved states of a run, from which the same command continues it: whole, hashed, and never half-written.

They lie in a folder beside the declared outputs, undeclared on purpose: Snakemake deletes declared outputs before a
retry. A state's name holds its step and its sha256, so that one rename publishes both.
"""

from __future__ import annotations

import logging
import os
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..records.files import sha256_file
from ..records.seal import sealed_path

log = logging.getLogger(__name__)
_NAME = re.compile(r"step-(?P<step>[0-9]{10})-(?P<sha256>[0-9a-f]{64})\.pt")


@dataclass(frozen=True)
class SavedState:
    """A state on disk: its step, its hash as its name says, its path."""

    step: int
    sha256: str
    path: Path

    @property
    def is_whole(self) -> bool:
        """Whether its bytes have the hash of its name."""
        return sha256_file(self.path) == self.sha256


class StateFolder:
    """The saved states of one run.

    keep: how many are kept. max_bytes: cap on all of them; the newest always stays.
    """

    def __init__(self, root: Path, keep: int = 2, max_bytes: float | None = None) -> None:
        self.root, self.keep, self.max_bytes = root, keep, max_bytes
        self.protected: int | None = None
        """Step of a state that is kept whatever its age: the one to roll back to."""

    def saved(self) -> list[SavedState]:
        """States on disk, newest first, whatever is in them."""
        found = []
        for path in self.root.glob("step-*.pt"):
            if match := _NAME.fullmatch(path.name):
                found.append(SavedState(int(match["step"]), match["sha256"], path))
        return sorted(found, key=lambda state: state.step, reverse=True)

    def save(self, step: int, state: dict[str, Any]) -> SavedState:
        """Write a state under a temporary name, sync it, rename it; then delete what is no longer kept."""
        self.root.mkdir(parents=True, exist_ok=True)
        for leftover in self.root.glob(".*.tmp"):  # of a run that was killed while it wrote
            leftover.unlink()
        draft = self.root / f".step-{step:010d}.{os.getpid()}.tmp"
        try:
            _save(state, draft)
            sha256 = sha256_file(draft)
            path = self.root / f"step-{step:010d}-{sha256}.pt"
            os.replace(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_folder(self.root)
        for other in self.saved():
            if other.step == step and other.path != path:  # the same step once more, after a rollback
                other.path.unlink()
        self._prune()
        return SavedState(step, sha256, path)

    def newest_whole(self) -> SavedState | None:
        """The newest state whose bytes have the hash of its name; newer ones are deleted with a warning."""
        for state in self.saved():
            if state.is_whole:
                return state
            log.warning(f"{state.path}: torn or altered, its sha256 is not that of its name. Using the state before it")
            state.path.unlink()
        return None

    def delete(self) -> None:
        """Delete all states: the run is complete, or they are of another recipe."""
        for state in self.saved():
            state.path.unlink()

    def _prune(self) -> None:
        total = 0
        for number, state in enumerate(self.saved()):
            total += state.path.stat().st_size
            if state.step == self.protected:
                continue
            if number and (number >= self.keep or (self.max_bytes is not None and total > self.max_bytes)):
                state.path.unlink()


class StateWriter:
    """Writes the states of a run, one at a time.

    is_ahead: by a thread, while the run goes on; a state must then be a copy that no step changes. The newest whole
    state counts, as ever: one that is being written has no name yet.
    """

    def __init__(self, folder: StateFolder, is_ahead: bool) -> None:
        self.folder, self.is_ahead = folder, is_ahead
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="state") if is_ahead else None
        self._writing: Future[SavedState] | None = None

    def write(self, step: int, state: dict[str, Any]) -> None:
        """Write a state, once the one before is there; an error of that one is raised here."""
        self.wait()
        if self._threads is None:
            self.folder.save(step, state)
        else:
            self._writing = self._threads.submit(self.folder.save, step, state)

    def wait(self) -> None:
        """Wait until all that was given is on disk."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()


def write_state(path: Path, state: dict[str, Any]) -> None:
    """Write a state that is an output of its own, atomically, with its seal: the branch point of a trunk."""
    with sealed_path(path) as temporary:
        _save(state, temporary)


def _save(state: dict[str, Any], path: Path) -> None:
    """Write a state and have it on disk. OSError with the file's name where there is no room for it."""
    with open(path, "wb") as file:
        try:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:
            # torch's writer raises an error of its own over the system's.
            reason = error if isinstance(error, OSError) else error.__context__
            if not isinstance(reason, OSError):
                raise
            raise OSError(reason.errno, reason.strerror, str(path)) from None


def _sync_folder(folder: Path) -> None:
    """Make a rename outlive a crash of the machine."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
