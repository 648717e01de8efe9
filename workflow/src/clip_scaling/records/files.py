"""Byte-deterministic JSON manifests, atomic writes, and the check of files against a manifest.

A manifest lists the files that lie beside it (undeclared to Snakemake) by name, size and sha256.
It holds no time, host or absolute path: a rerun that makes the same data makes the same bytes,
and Snakemake replans nothing.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from ..errors import ManifestError
from ..machine.processes import is_alive

_OLD_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file as manifests list it. path: below the manifest's folder, or a URL."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    path: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path, root: Path) -> FileEntry:
        """Describe a file below `root`."""
        return FileEntry(path.relative_to(root).as_posix(), path.stat().st_size, sha256_file(path))

    def with_pairs(self, pairs: int) -> ShardEntry:
        """The entry of a shard of this many pairs."""
        return ShardEntry(self.path, self.bytes, self.sha256, pairs)


@dataclass(frozen=True, slots=True)
class ShardEntry(FileEntry):
    """A tar of pairs as manifests list it. pairs: those that the data set takes of it."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    pairs: int


def remake(path: Path) -> str:
    """The next step where a file is wrong: have Snakemake make it again."""
    return f"Delete {path} and run `snakemake --cores all {path}`."


def canonical_json(value: Any, *, indent: int | None = None) -> str:
    """JSON with sorted keys and no NaN: one value has one text."""
    separators = None if indent else (",", ":")
    return json.dumps(value, sort_keys=True, indent=indent, separators=separators, allow_nan=False, ensure_ascii=False)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; sync and rename it on success, remove it on any error. Drops its seal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        seal_path(path).unlink(missing_ok=True)  # no moment has a file with the seal of another
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is None:  # a full disk is found by a write, which knows no name
            error.filename = str(path)
        raise
    finally:
        temporary.unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    """Remove what processes left that were killed while they wrote this file."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        writer = leftover.name.removesuffix(".tmp").rpartition(".")[2]
        with suppress(OSError):
            # Another machine's writer has a number that says nothing here: what is old is not being written.
            if writer.isdigit() and not is_alive(int(writer)) and time.time() - leftover.stat().st_mtime > _OLD_SECONDS:
                leftover.unlink()


def seal_path(path: Path) -> Path:
    """Where the seal of a file lies (records/seal.py)."""
    return path.with_name(f".{path.name}.sha256")


def write_text(path: Path, text: str) -> None:
    """Write a whole text file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write canonical, indented JSON atomically."""
    write_text(path, canonical_json(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON. ManifestError where the file is missing or is no JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ManifestError(
            "no such file", place=str(path), remedy=f"Run `snakemake --cores all {path}` to make it."
        ) from None
    except (ValueError, RecursionError, OSError) as error:
        raise ManifestError(
            f"not JSON ({error})", place=str(path), remedy=f"Delete it and run `snakemake --cores all {path}`."
        ) from None


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object. ManifestError as `read_json`, and where it is another value."""
    found = read_json(path)
    if not isinstance(found, dict):
        raise ManifestError("holds no JSON object", place=str(path), remedy=remake(path))
    return found


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(path: Path, root: Path) -> dict[str, Any]:
    """{path relative to root, bytes, sha256} of a file, as manifests list it."""
    return asdict(FileEntry.of(path, root))


def verify_files(files: Iterable[FileEntry], root: Path, remedy: str, *, hashes: bool = True) -> None:
    """Compare listed files with the disk. ManifestError names the first that is missing or differs.

    remedy: the next step, a sentence. hashes: False compares sizes only.
    """
    for path, thing in differing_files(files, root, hashes=hashes):
        raise ManifestError(thing, place=str(path), remedy=remedy)


def differing_files(files: Iterable[FileEntry], root: Path, *, hashes: bool = True) -> Iterator[tuple[Path, str]]:
    """Yield each listed file that is missing or differs, and how. hashes: False compares sizes only."""
    for entry in files:
        path = root / entry.path
        if not path.is_file():
            yield path, "listed in the manifest but missing"
        elif (size := path.stat().st_size) != entry.bytes:
            yield path, f"{size} bytes, {entry.bytes} in the manifest"
        elif hashes and sha256_file(path) != entry.sha256:
            yield path, "sha256 differs from the manifest"
