"""The files of a data set: webdataset tars with deterministic bytes, their offset index, the manifest."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...records.files import atomic_path, describe_file, read_json, write_json
from ..progress import Progress
from ..sources.pairs import Pair

INDEX_DTYPE = np.dtype([("shard", "<u4"), ("offset", "<u8"), ("size", "<u8")])
"""One row a pair: its shard, the offset of its first tar header, the bytes of all its members."""

Members = Mapping[str, bytes]


def write_tar(path: Path, samples: Iterable[tuple[str, Members]]) -> list[tuple[int, int]]:
    """Write one webdataset tar atomically: member `key.extension` for each sample, no times, no owners.

    Returns: (offset, size) of each sample in the tar.
    """
    spans = []
    with atomic_path(path) as temporary, tarfile.open(temporary, "w", format=tarfile.PAX_FORMAT) as tar:
        for key, members in samples:
            start = tar.offset
            for extension, content in sorted(members.items()):
                header = tarfile.TarInfo(f"{key}.{extension}")
                header.size = len(content)
                header.mode = 0o444
                tar.addfile(header, io.BytesIO(content))
            spans.append((start, tar.offset - start))
    return spans


def members(pair: Pair) -> Members:
    """A training pair as webdataset members."""
    return {"png": pair.png, "txt": pair.caption.encode("utf-8")}


def write_shards(root: Path, pairs: Sequence[Pair], shard_size: int) -> list[dict[str, Any]]:
    """Write `shards/00000.tar`, ... and `index.npy` under root; returns the manifest's list of shards."""
    shards = []
    progress = Progress("written", len(pairs))
    index = np.empty(len(pairs), INDEX_DTYPE)
    for number, start in enumerate(range(0, len(pairs), shard_size)):
        part = pairs[start : start + shard_size]
        path = root / shard_name(number)
        spans = write_tar(path, ((pair.key, members(pair)) for pair in part))
        index["shard"][start : start + len(part)] = number
        index["offset"][start : start + len(part)] = [offset for offset, _ in spans]
        index["size"][start : start + len(part)] = [size for _, size in spans]
        shards.append({**describe_file(path, root), "pairs": len(part)})
        progress.add(len(part))
    write_index(root / "index.npy", index)
    return shards


def shard_name(number: int) -> str:
    """Path of a shard relative to its data set."""
    return f"shards/{number:05d}.tar"


def write_index(path: Path, index: np.ndarray) -> None:
    """Write an index array (INDEX_DTYPE) atomically."""
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, index)


def read_manifest(path: Path, kind: str, format: int = 1) -> dict[str, Any]:
    """A manifest of the given kind ("source", "subset", ...). ManifestError or DataError names the file."""
    manifest = read_json(path)
    if manifest.get("kind") != kind or manifest.get("format") != format:
        raise DataError(
            f"{path}: not a manifest of kind {kind!r}, format {format}. "
            f"Delete it and run `snakemake --cores all {path}`."
        )
    return manifest


def write_subset_manifest(
    root: Path,
    name: str,
    source: Mapping[str, Any],
    shards: Sequence[Mapping[str, Any]],
    files: Sequence[str],
    order_digest: str,
    about: Mapping[str, Any],
) -> None:
    """Write the manifest of a subset, last of all. files: beside the shards. about: `pairs`, `counts` and the like."""
    write_json(
        root / "manifest.json",
        {
            "kind": "subset",
            "format": 1,
            "name": name,
            "source": source["name"],
            "source_order_digest": source["order_digest"],
            "shards": shards,
            "files": [describe_file(root / path, root) for path in files],
            "order_digest": order_digest,
            **about,
        },
    )


def link_or_copy(source: Path, target: Path) -> None:
    """Hard-link a file where the file system can, else copy it; atomic either way."""
    with atomic_path(target) as temporary:
        try:
            os.link(source, temporary)
        except OSError:
            shutil.copyfile(source, temporary)


def symlink(target: Path, path: Path, *, is_relative: bool = False) -> None:
    """A symbolic link at `path` to what `target` is in the end; is_relative: to `target` as it is, a link itself."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(os.path.relpath(target, path.parent) if is_relative else target.resolve())


def copy_prefix(source: Path, target: Path, size: int) -> None:
    """Write the first `size` bytes of a tar as a tar of its own. size: the end of a whole sample."""
    with open(source, "rb") as whole, atomic_path(target) as temporary, open(temporary, "wb") as part:
        part.write(whole.read(size))
        # A tar ends with two empty blocks, padded to a whole record.
        end = size + 2 * tarfile.BLOCKSIZE
        part.write(bytes(-(-end // tarfile.RECORDSIZE) * tarfile.RECORDSIZE - size))


def clear(root: Path, *folders: str) -> None:
    """Remove what an earlier or a killed run left: the manifest first, then the folders and temporary files."""
    (root / "manifest.json").unlink(missing_ok=True)
    for folder in folders:
        shutil.rmtree(root / folder, ignore_errors=True)
    for leftover in root.glob(".*.tmp"):
        leftover.unlink()
