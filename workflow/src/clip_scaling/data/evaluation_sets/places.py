"""Where the samples of an evaluation set lie in its tars, so that each can be read by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from webdataset.tariterators import base_plus_ext, meta_prefix, meta_suffix

from ..shards.write import INDEX_DTYPE
from ..sources.tars.walk import BLOCK, TarWalk
from .layout import tar_paths

_METADATA = r"__[^/]*__($|/)"
"""Names that webdataset passes over."""


def sample_places(folder: Path, split: str) -> NDArray[np.void] | None:
    """Index the samples of a split, in webdataset's order: (samples,) of INDEX_DTYPE.

    None where a tar is not one that reading sample by sample would give the same of: damaged, compressed, an extension
    twice in a sample, or members between those of a sample. OSError where a tar is missing.
    """
    found = []
    for number, path in enumerate(tar_paths(folder, split)):
        with open(folder / path, "rb") as file:
            walk = TarWalk(file)
            try:
                rows = list(_samples(walk))
            except _NotPlain:
                return None
            finally:
                walk.close()
        if walk.problems:
            return None
        part = np.zeros(len(rows), INDEX_DTYPE)
        part["shard"] = number
        part["offset"], part["size"] = np.array(rows, np.int64).reshape(-1, 2).T
        found.append(part)
    return np.concatenate(found) if found else np.zeros(0, INDEX_DTYPE)


class _NotPlain(Exception):
    """webdataset would read something else than one run of members with different extensions a sample."""


def _samples(walk: TarWalk) -> Iterator[tuple[int, int]]:
    """Yield (offset, bytes) of each sample of a tar."""
    key, extensions = None, set[str]()
    begin = end = 0
    for members, _ in walk:
        for raw, first, content, size in members:
            name = raw.decode("utf-8", "surrogateescape")
            prefix, extension = base_plus_ext(name)
            if prefix is None or _is_metadata(name):
                raise _NotPlain
            if prefix != key:
                if key is not None:
                    yield begin, end - begin
                key, extensions, begin = prefix, set(), first
            elif extension.lower() in extensions or first != end:
                raise _NotPlain
            extensions.add(extension.lower())
            end = content + (size + BLOCK - 1 & -BLOCK)
    if key is not None:
        yield begin, end - begin


def _is_metadata(name: str) -> bool:
    is_meta = "/" not in name and name.startswith(meta_prefix) and name.endswith(meta_suffix)
    return is_meta or re.match(_METADATA, name) is not None
