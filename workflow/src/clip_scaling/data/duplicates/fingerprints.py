"""What tells images apart without looking at them again: a row an image, of a whole source or of an evaluation set."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import DataError
from ...records.files import atomic_path
from ..progress import Progress
from ..shards.read import IMAGE_EXTENSIONS, PairReader, UnreadablePair, decode_image
from ..shards.write import read_manifest
from ..workers import ordered_map
from .hash import PLAIN_CONTRAST, hashes_and_contrasts

FINGERPRINT_DTYPE = np.dtype([("content", "<u8"), ("phash", "<u8"), ("state", "u1")])
"""content: first 64 bits of the sha256 of the encoded image; of 10 million, two differing ones share them with a chance
of 3 in a million. phash: perceptual hash. state: one of the next three."""
COMPARABLE, PLAIN, UNREADABLE = 0, 1, 2
"""PLAIN: one colour all over: its perceptual hash is noise, so its bytes alone are compared. UNREADABLE: not at all."""
_CHUNK = 2_000
_GREY = Image.new("L", (1, 1))


def fingerprints(contents: Iterable[bytes | None]) -> np.ndarray:
    """A row (FINGERPRINT_DTYPE) for each encoded image; None stands for one that cannot be read."""
    digests: list[int] = []
    is_readable: list[bool] = []

    def images() -> Iterator[Image.Image]:
        for content in contents:
            digests.append(int.from_bytes(hashlib.sha256(content or b"").digest()[:8], "little"))
            image = _decoded(content)
            is_readable.append(image is not None)
            yield image or _GREY

    hashes, contrasts = hashes_and_contrasts(images())
    rows = np.zeros(len(digests), FINGERPRINT_DTYPE)
    rows["content"], rows["phash"] = np.array(digests, np.uint64), hashes
    rows["state"] = np.where(contrasts < PLAIN_CONTRAST, PLAIN, COMPARABLE)
    rows["state"][~np.array(is_readable, np.bool_)] = UNREADABLE
    return rows


def _decoded(content: bytes | None) -> Image.Image | None:
    try:
        return decode_image(content) if content else None
    except UnreadablePair:
        return None


def write_source_fingerprints(path: Path, source_manifest: Path, workers: int) -> None:
    """Write (pairs,) fingerprints of a source's training images, in its order; the same for any number of workers."""
    pairs = read_manifest(source_manifest, "source")["pairs"]
    index = np.load(source_manifest.parent / "index.npy", mmap_mode="r")
    # Existing tars hold pairs in another order: each is read through, and one at a URL is fetched once.
    order = np.lexsort((index["offset"], index["shard"]))
    chunks = [order[start : start + _CHUNK] for start in range(0, pairs, _CHUNK)]
    progress = Progress("fingerprinted", pairs)
    rows = np.empty(pairs, FINGERPRINT_DTYPE)
    with ordered_map(max(1, min(workers, len(chunks)))) as mapped:
        for chunk, part in zip(chunks, mapped(partial(_chunk, source_manifest), chunks), strict=True):
            rows[chunk] = part
            progress.add(len(part))
    _write(path, rows)


def _chunk(source_manifest: Path, numbers: np.ndarray) -> np.ndarray:
    reader = PairReader(source_manifest, kind="source")
    found = fingerprints(_content(reader, number) for number in numbers)
    reader.close()
    return found


def _content(reader: PairReader, number: int) -> bytes | None:
    try:
        return reader.read(number)[0]
    except UnreadablePair:
        return None


def write_evaluation_fingerprints(path: Path, manifest_path: Path) -> None:
    """Write fingerprints of the test images of a set in clip-benchmark's layout, in the order of its tars."""
    manifest = read_manifest(manifest_path, "evaluation")
    folder = Path(manifest.get("folder", manifest_path.parent))
    shards = int((folder / "test/nshards.txt").read_text(encoding="utf-8"))
    _write(path, fingerprints(_images_of([folder / f"test/{number}.tar" for number in range(shards)])))


def _images_of(tars: list[Path]) -> Iterator[bytes]:
    for path in tars:
        try:
            with tarfile.open(path) as tar:
                for header in tar:
                    if header.isreg() and header.name.rsplit(".", 1)[-1].lower() in IMAGE_EXTENSIONS:
                        file = tar.extractfile(header)
                        assert file is not None  # a regular member
                        yield file.read()
        except (OSError, tarfile.TarError) as error:
            raise DataError(f"{path}: cannot be read ({error}). Prepare the evaluation set again.") from None


def _write(path: Path, rows: np.ndarray) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.save(file, rows)


def read_fingerprints(path: Path) -> np.ndarray:
    """Rows as they were written, mapped into memory. DataError where the file is no such table."""
    try:
        rows = np.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        remedy = f"Delete it and run `snakemake --cores all {path}`."
        raise DataError(f"{path}: cannot be read ({error}). {remedy}") from None
    if rows.dtype != FINGERPRINT_DTYPE:
        raise DataError(f"{path}: no table of fingerprints. Delete it and run `snakemake --cores all {path}`.")
    return rows


def evaluation_fingerprints(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """Tables of evaluation sets by the sets' names. paths: eval-{name}/fingerprints.npy."""
    return {path.parent.as_posix().rpartition("eval-")[2]: read_fingerprints(path) for path in paths}
