"""Fingerprints of images, a row each: of a whole source or of an evaluation set."""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import DataError
from ...records.data import EvaluationSetManifest, SourceManifest
from ...records.filenames import INDEX
from ...records.seal import check_seal, seal
from ..evaluation_sets.layout import tar_paths
from ..progress import Progress
from ..shards.read import IMAGE_EXTENSIONS, PairReader, UnreadablePair, decode_image
from ..shards.write import write_array
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
    """Fingerprint encoded images: (n,) FINGERPRINT_DTYPE. None stands for an image that cannot be read."""
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
    pairs = SourceManifest.read(source_manifest).pairs
    index = np.load(source_manifest.with_name(INDEX), mmap_mode="r")
    # Existing tars hold pairs in another order: each is read through, and one at a URL is fetched once.
    order = np.lexsort((index["offset"], index["shard"]))
    chunks = [order[start : start + _CHUNK] for start in range(0, pairs, _CHUNK)]
    progress = Progress("fingerprinted", pairs)
    rows = np.empty(pairs, FINGERPRINT_DTYPE)
    with ordered_map(max(1, min(workers, len(chunks)))) as mapped:
        for chunk, found in zip(chunks, mapped(partial(_chunk, source_manifest), chunks), strict=True):
            rows[chunk] = found
            progress.add(len(found))
    write_fingerprints(path, rows)


def _chunk(source_manifest: Path, numbers: np.ndarray) -> np.ndarray:
    with PairReader.open(source_manifest) as reader:
        return fingerprints(_content(reader, number) for number in numbers)


def _content(reader: PairReader, number: int) -> bytes | None:
    try:
        return reader.read(number)[0]
    except UnreadablePair:
        return None


def write_evaluation_fingerprints(path: Path, manifest_path: Path) -> None:
    """Write fingerprints of the test images of a set in clip-benchmark's layout, in the order of its tars."""
    folder = EvaluationSetManifest.read(manifest_path).home(manifest_path)
    write_fingerprints(path, fingerprints(_images_of([folder / tar for tar in tar_paths(folder, "test")])))


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
            remedy = "Prepare the evaluation set again."
            raise DataError(f"cannot be read ({error})", place=str(path), remedy=remedy) from None


def write_fingerprints(path: Path, rows: np.ndarray) -> None:
    """Write a table of fingerprints, with its seal."""
    write_array(path, rows)
    seal(path)


def read_fingerprints(path: Path) -> np.ndarray:
    """Map a table of fingerprints into memory. DataError where the file is no such table."""
    about = {"place": str(path), "remedy": f"Delete it and run `snakemake --cores all {path}`."}
    check_seal(path)
    try:
        rows = np.load(path, mmap_mode="r")
    except Exception as error:  # the reader lets through whatever a damaged header makes it meet
        raise DataError(f"cannot be read ({error})", **about) from None
    if rows.dtype != FINGERPRINT_DTYPE:
        raise DataError("no table of fingerprints", **about)
    return rows


def evaluation_fingerprints(paths: Sequence[Path]) -> dict[str, np.ndarray]:
    """Read the fingerprints of evaluation sets, by the sets' names. paths: eval-{name}/fingerprints.npy."""
    return {path.parent.as_posix().rpartition("eval-")[2]: read_fingerprints(path) for path in paths}
