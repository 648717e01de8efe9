"""The removal list: URLs and image hashes that must not be downloaded, kept or trained on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from ....errors import DataError

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class RemovalList:
    """urls: as in the lists. hashes: hex sha256 of images as they are served."""

    urls: frozenset[str] = frozenset()
    hashes: frozenset[str] = frozenset()


def read_removal_list(path: Path | None) -> RemovalList:
    """Read one URL or sha256 a line; empty lines and lines with `#` are comments. None: nothing is removed.

    DataError for a line that is neither: a removal that silently does nothing must not pass.
    """
    if path is None:
        return RemovalList()
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise DataError(f"{path}: no such removal list. Correct `safety.removal_list`.") from None
    urls, hashes = set(), set()
    for number, line in enumerate(lines, 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        if _SHA256.fullmatch(entry.lower()):
            hashes.add(entry.lower())
        elif "://" in entry:
            urls.add(entry)
        else:
            raise DataError(f"{path}, line {number}: {entry!r} is neither a URL nor a sha256 (64 hex digits).")
    return RemovalList(frozenset(urls), frozenset(hashes))
