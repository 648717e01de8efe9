"""A record beside the index for each tar: a killed or repeated indexing reads only the tars that it has not read."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ....errors import DataError
from ....records.files import atomic_path, canonical_json, write_json
from ...progress import Progress
from ...shards.opening import open_url
from ...workers import ordered_map
from .index import SAMPLE_DTYPE, TarContent, index_tar
from .lists import Tar

log = logging.getLogger(__name__)
RECORD_FORMAT = 1


@dataclass(frozen=True)
class IndexSettings:
    """What a tar's record depends on beside the tar: as of `index_tar`."""

    caption_key: str | None
    has_images_hashed: bool


def index_tars(folder: Path, tars: Sequence[Tar], settings: IndexSettings, workers: int) -> list[Path]:
    """Records of all tars under `folder`, in their order, made by `workers` processes where there is none yet.

    DataError where a tar cannot be read at all: a disk or a network that fails says nothing of the tar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    progress = Progress("indexed_tars", len(tars))
    work = partial(_index, folder=folder, settings=settings)
    paths = []
    with ordered_map(max(1, min(workers, len(tars)))) as mapped:
        for result in mapped(work, tars):
            if isinstance(result, str):
                raise DataError(result)
            paths.append(result)
            progress.add(1)
    return paths


def _index(tar: Tar, folder: Path, settings: IndexSettings) -> Path | str:
    """The tar's record, or why it cannot be read, as a value: an exception's text would be lost among a pool's."""
    try:
        state = _state(tar, settings)
        path = folder / f"{hashlib.sha256(tar.location.encode()).hexdigest()[:32]}.npz"
        if not _is_of(path, state):
            with _open(tar) as stream:
                content = index_tar(stream, tar.name, settings.caption_key, settings.has_images_hashed)
            if not tar.is_remote and _state(tar, settings) != state:
                return f"{tar.location}: changed while it was read. Wait until it is written, and run again."
            save_record(path, content, state)
    except DataError as error:
        return str(error)
    except (MemoryError, AssertionError):
        raise
    except Exception as error:  # each protocol's client has errors of its own
        if not tar.is_remote and not isinstance(error, OSError | ValueError):
            raise
        return f"{tar.location}: cannot be read ({error}). Check the disk or the network, and run again."
    return path


def _open(tar: Tar) -> BinaryIO:
    return open_url(tar.location) if tar.is_remote else open(tar.location, "rb")


def _state(tar: Tar, settings: IndexSettings) -> dict[str, Any]:
    """What a record must agree with: the settings, and of a local tar its size and time."""
    state = {"format": RECORD_FORMAT, "name": tar.name, "caption_key": settings.caption_key}
    state["has_images_hashed"] = settings.has_images_hashed
    if not tar.is_remote:
        status = Path(tar.location).stat()
        state |= {"bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
    return state


def _is_of(path: Path, state: dict[str, Any]) -> bool:
    try:
        with np.load(path) as arrays:
            samples = arrays["samples"]
            is_whole = samples.dtype == SAMPLE_DTYPE and arrays["lines"].dtype == np.uint8
            return bool(is_whole and json.loads(arrays["about"].tobytes())["state"] == state)
    except Exception:  # a damaged zip makes its reader meet whatever it likes: the tar is read again
        return False


def save_record(path: Path, content: TarContent, state: dict[str, Any]) -> None:
    """Write what `load_record` and `read_about` read."""
    about = {
        "state": state,
        "pairs": len(content.samples),
        "lost": content.lost,
        "problems": content.problems,
        "bytes": content.bytes,
        "sha256": content.sha256,
        "notes": content.notes,
    }
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez(
            file,
            about=np.frombuffer(canonical_json(about).encode(), np.uint8),
            samples=content.samples,
            lines=np.frombuffer(content.lines, np.uint8),
        )


def read_about(path: Path) -> dict[str, Any]:
    """A record without its arrays."""
    with np.load(path) as arrays:
        about: dict[str, Any] = json.loads(arrays["about"].tobytes())
    return about


def load_record(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(n,) SAMPLE_DTYPE and the identities' lines as (bytes,) uint8."""
    with np.load(path) as arrays:
        samples, lines = arrays["samples"], arrays["lines"]
    assert samples.dtype == SAMPLE_DTYPE
    return samples, lines


def recorded_samples(tars: Sequence[Tar]) -> Iterator[int | None]:
    """Samples that the tars' writers say they wrote: img2dataset's `00000_stats.json`, or `sizes.json`, beside them.

    None where there is no such file, or only a part of one, as a killed download leaves it.
    """
    sizes: dict[Path, dict[str, Any]] = {}
    for tar in tars:
        if tar.is_remote:
            yield None
            continue
        path = Path(tar.location)
        statistics = path.with_name(f"{path.stem}_stats.json")
        if path.parent not in sizes:
            sizes[path.parent] = _sidecar(path.parent / "sizes.json")
        found = _sidecar(statistics).get("successes") if statistics.is_file() else sizes[path.parent].get(path.name)
        yield found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _sidecar(path: Path) -> dict[str, Any]:
    """A JSON object beside tars; empty where it cannot be read."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        log.warning(f"{path}: cannot be read ({error}): the numbers of samples in it are not known")
        return {}
    return found if isinstance(found, dict) else {}


def index_part(output: Path, tars: Sequence[Tar], settings: IndexSettings, workers: int) -> None:
    """Index some of a source's tars, and say in the unit's record how many and how large they are."""
    abouts = [read_about(path) for path in index_tars(output.parent, tars, settings, workers)]
    kept, size = (sum(about[key] for about in abouts) for key in ("pairs", "bytes"))
    write_json(output, {"tars": len(tars), "pairs": kept, "bytes": size})
