"""The ledger: an append-only file of what was submitted, so that a driver may die and no job is submitted twice.

One JSON object a line. All decisions to submit are taken under its lock (flock), by whichever driver holds it.
A job is known by its rule and outputs, not by a number of one run of Snakemake.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

SUBMITTING, SUBMITTED, DONE, FAILED, CANCELLED, REFUSED = (
    "submitting",
    "submitted",
    "done",
    "failed",
    "cancelled",
    "refused",
)


@dataclass(frozen=True)
class Record:
    """One line of the ledger.

    key: the job's identity; fingerprint: what it runs, so that a changed recipe is not taken for the old job;
    token and index: of the submission, also in the cluster's own record of it; time: seconds since 1970.
    """

    key: str
    name: str
    state: str
    driver: str
    fingerprint: str = ""
    token: str = ""
    index: int = 0
    cluster_id: str = ""
    attempt: int = 1
    continuations: int = 0
    resubmissions: int = 0
    memory_retries: int = 0
    has_saved: bool = False
    time: float = field(default_factory=time.time)


def job_key(rule: str, outputs: Iterable[str], target: str) -> str:
    """Identity of a job: its rule and outputs; without outputs, Snakemake's own name of the job."""
    parts = sorted(outputs) or [target]
    return hashlib.sha256(json.dumps([rule, parts]).encode()).hexdigest()[:20]


class Ledger:
    """The file and its lock. One object a driver."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "ledger.jsonl"
        self.driver = uuid.uuid4().hex[:12]
        self._latest: dict[str, Record] = {}
        self._offset = 0
        self._alive = self._hold_driver_lock()

    def close(self) -> None:
        """Say that this driver has ended."""
        self._alive.close()
        with contextlib.suppress(FileNotFoundError):
            self._driver_path(self.driver).unlink()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock of all drivers and know what the others wrote."""
        with open(self.folder / "ledger.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._read()
            yield

    def latest(self, key: str) -> Record | None:
        """The last line about a job, as of the last `locked`."""
        return self._latest.get(key)

    def append(self, records: Iterable[Record]) -> None:
        """Write lines and have them on disk before anything else happens."""
        records = list(records)
        text = "".join(json.dumps(asdict(record), sort_keys=True) + "\n" for record in records)
        with open(self.path, "a", encoding="utf-8") as file:
            # A driver that was killed while it wrote leaves half a line: end it, so that only that line is lost.
            if file.tell() and not self._ends_with_newline():
                file.write("\n")
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        for record in records:
            self._latest[record.key] = record

    def is_alive(self, driver: str) -> bool:
        """Whether the driver that wrote a line still runs."""
        if driver == self.driver:
            return True
        try:
            with open(self._driver_path(driver)) as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except BlockingIOError:
            return True
        return False

    def _driver_path(self, driver: str) -> Path:
        return self.folder / "drivers" / driver

    def _hold_driver_lock(self) -> IO[str]:
        path = self._driver_path(self.driver)
        path.parent.mkdir(exist_ok=True)
        file = open(path, "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    def _ends_with_newline(self) -> bool:
        with open(self.path, "rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def _read(self) -> None:
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                record = _parse(line)
                if record is not None:
                    self._latest[record.key] = record


def _parse(line: bytes) -> Record | None:
    try:
        return Record(**json.loads(line))
    except (ValueError, TypeError, RecursionError):
        return None  # half a line of a driver that was killed: its `submitting` is found through the token
