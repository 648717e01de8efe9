"""A bounded cache of whole shards from URLs, on this node: shared by all ranks, workers and jobs."""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from pathlib import Path

from ...errors import DataError, redacted
from ...machine.private import make_private
from ...records.files import FileEntry, atomic_path, sha256_file
from ..web import download
from .opening import open_url

log = logging.getLogger(__name__)
_SLOWEST = 1e5
"""Bytes a second under which a download is given up."""
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
        try:
            make_private(self.root)
            # One process fetches, the others wait for it.
            with open(_descriptor(self.root / f".{name}.lock", os.O_RDWR | os.O_CREAT), "rb+") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not self._is_known(entry, path):
                    self._fetch(entry, path)
                    _mark(path)
                os.utime(_marker(path))
                descriptor = _descriptor(path, os.O_RDONLY)
        except OSError as error:
            remedy = "Let TMPDIR name a folder that this user can write, with room for the shards."
            raise DataError(
                f"the cache of shards cannot be used ({error})", place=str(self.root), remedy=remedy
            ) from None
        self._prune(keep=path)
        return descriptor

    def _is_known(self, entry: FileEntry, path: Path) -> bool:
        """Whether a shard is there and whole. It is hashed where it is not the file that was hashed before."""
        try:
            with open(_descriptor(path, os.O_RDONLY), "rb") as file:
                if _is_marked(path):
                    return True
                is_whole = hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
        except FileNotFoundError:
            return False
        if is_whole:
            _mark(path)
        else:
            log.warning(f"{path}: not what the manifest says; fetched again")
            path.unlink()
        return is_whole

    def _fetch(self, entry: FileEntry, path: Path) -> None:
        url = entry.path
        log.info(f"fetching {redacted(url)}")
        remedy = "Check that the URL can be opened from this node, or prepare the data again."
        try:
            with atomic_path(path) as temporary:
                _copy(url, temporary, entry.bytes)
                size = temporary.stat().st_size
                if size != entry.bytes:
                    raise DataError(f"{size} bytes, {entry.bytes} in the manifest", place=url, remedy=remedy)
                if sha256_file(temporary) != entry.sha256:
                    raise DataError("sha256 differs from the manifest", place=url, remedy=remedy)
        except DataError:
            raise
        except Exception as error:  # each protocol's client has errors of its own
            raise DataError(f"the shard cannot be fetched ({error})", place=url, remedy=remedy) from None

    def _prune(self, keep: Path) -> None:
        found = []
        for path in self.root.glob("*.tar"):
            try:
                found.append((_marker(path).stat().st_mtime, path.stat().st_size, path))
            except FileNotFoundError:  # another process was faster
                continue
        total = 0
        for _, size, path in sorted(found, reverse=True):
            total += size
            if total > self.max_bytes and path != keep:
                path.unlink(missing_ok=True)
                _marker(path).unlink(missing_ok=True)


def _copy(url: str, path: Path, promised: int) -> None:
    """Write what a URL gives into a file: http and https within bounds, others by their own openers."""
    with open(path, "wb") as file:
        if url.startswith(("http://", "https://")):
            download(url, file, promised, max(600.0, promised / _SLOWEST))
            return
        with open_url(url) as stream:
            shutil.copyfileobj(stream, file, 1 << 20)


def _descriptor(path: Path, flags: int) -> int:
    """Open a file that is no link."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _marker(path: Path) -> Path:
    """Where it is said which file was hashed; its time is that of the last use."""
    return path.with_name(f".{path.name}.verified")


def _mark(path: Path) -> None:
    _marker(path).unlink(missing_ok=True)
    _marker(path).write_text(_look(path))


def _is_marked(path: Path) -> bool:
    marker = _marker(path)
    return marker.is_file() and not marker.is_symlink() and marker.read_text() == _look(path)


def _look(path: Path) -> str:
    """What changes with a file's content: its inode, size and times."""
    status = path.lstat()
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"
