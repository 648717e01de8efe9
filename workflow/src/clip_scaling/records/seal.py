"""Seals: the sha256 of a result, beside it in `.{name}.sha256`, so that a byte that changes later is found at its use.

A result without a seal, of an earlier version of the project or copied without it, is taken as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ManifestError
from .files import atomic_path, remake, seal_path, sha256_file, write_text


@contextmanager
def sealed_path(path: Path) -> Iterator[Path]:
    """Yield a temporary name, as `atomic_path`, and seal what was written."""
    with atomic_path(path) as temporary:
        yield temporary
        digest = sha256_file(temporary)
    write_text(seal_path(path), digest + "\n")


def seal(path: Path) -> None:
    """Seal a file that is complete."""
    write_text(seal_path(path), sha256_file(path) + "\n")


def check_seal(path: Path, remedy: str | None = None) -> None:
    """Compare a file with its seal, if it has one. ManifestError where they differ.

    remedy: the next step, a sentence; by default to have Snakemake make the file again.
    """
    for _ in range(2):  # a file that is written at this moment differs once
        promised = sealed_sha256(path)
        if promised is None or not path.is_file() or sha256_file(path) == promised:
            return
    raise ManifestError(
        "damaged: its sha256 is not that which it was written with", place=str(path), remedy=remedy or remake(path)
    )


def sealed_sha256(path: Path) -> str | None:
    """The sha256 that a file was written with; None where it has no seal."""
    try:
        return seal_path(path).read_text(encoding="utf-8", errors="replace").strip()
    except FileNotFoundError:
        return None
