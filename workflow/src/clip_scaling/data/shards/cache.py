"""A bounded cache of whole shards from URLs, on this node: shared by all ranks, workers and jobs."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
import urllib.parse
from pathlib import Path

from ...errors import DataError
from ...records.files import FileEntry, atomic_path, sha256_file
from .opening import open_url

log = logging.getLogger(__name__)
CACHE_BYTES = 20e9
"""Default bound of a node's cache: ten of LAION's shards are about 5 GB."""


def cache_folder() -> Path:
    """Where a node keeps shards from URLs: under TMPDIR, one folder a user."""
    return Path(tempfile.gettempdir()) / f"clip-scaling-shards-{os.getuid()}"


class ShardCache:
    """Shards from URLs as local files. max_bytes: least recently opened ones are deleted above it."""

    def __init__(self, root: Path | None = None, max_bytes: float = CACHE_BYTES) -> None:
        self.root, self.max_bytes = root or cache_folder(), max_bytes

    def open(self, entry: FileEntry) -> int:
        """Open a shard of a manifest, fetched if need be; a file descriptor. DataError where it cannot be had.

        The descriptor stays readable after the file was deleted.
        """
        name = hashlib.sha256(f"{entry.path} {entry.sha256}".encode()).hexdigest()[:32] + ".tar"
        path = self.root / name
        self.root.mkdir(parents=True, exist_ok=True)
        # One process fetches, the others wait for it.
        with open(self.root / f".{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not path.is_file():
                self._fetch(entry, path)
            os.utime(path)
            descriptor = os.open(path, os.O_RDONLY)
        self._prune(keep=path)
        return descriptor

    def _fetch(self, entry: FileEntry, path: Path) -> None:
        url = entry.path
        log.info(f"fetching {url}")
        remedy = "Check that the URL can be opened from this node, or prepare the data again."
        try:
            with atomic_path(path) as temporary:
                with open(temporary, "wb") as file, open_url(url) as stream:
                    shutil.copyfileobj(stream, file, 1 << 20)
                size = temporary.stat().st_size
                if size != entry.bytes:
                    raise DataError(f"{size} bytes, {entry.bytes} in the manifest", place=url, remedy=remedy)
                if sha256_file(temporary) != entry.sha256:
                    raise DataError("sha256 differs from the manifest", place=url, remedy=remedy)
        except DataError:
            raise
        except Exception as error:  # each protocol's client has errors of its own
            reason = f"the shard cannot be fetched ({error})"
            raise DataError(reason, place=_without_password(url), remedy=remedy) from None

    def _prune(self, keep: Path) -> None:
        found = []
        for path in self.root.glob("*.tar"):
            try:
                status = path.stat()
            except FileNotFoundError:  # another process was faster
                continue
            found.append((status.st_mtime, status.st_size, path))
        total = 0
        for _, size, path in sorted(found, reverse=True):
            total += size
            if total > self.max_bytes and path != keep:
                path.unlink(missing_ok=True)


def _without_password(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    return url if parts.password is None else url.replace(f":{parts.password}@", ":***@")
