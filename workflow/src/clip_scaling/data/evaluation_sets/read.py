"""Samples of evaluation sets in clip-benchmark's webdataset layout, in order."""

from __future__ import annotations

import hashlib
import io
import itertools
import logging
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image
from torch import Tensor

from ...errors import EvaluationError
from ...models.preprocess import Preprocess
from ...records.data import EvaluationSetManifest
from ...records.files import canonical_json, remake, verify_files
from ..shards.images import with_image
from ..shards.read import IMAGE_EXTENSIONS
from .layout import tar_paths

log = logging.getLogger(__name__)

REMEDY = "Prepare the set again, or set `on_unreadable: skip` in the suite."


@dataclass(frozen=True)
class EvaluationSet:
    """A set on disk whose files are those of its manifest. digest: of the files' hashes.

    stamps: of each file before it was hashed, as `_stamp` gives them. remedy: the next step where a file differs.
    """

    manifest: EvaluationSetManifest
    folder: Path
    digest: str
    stamps: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    remedy: str = ""

    @property
    def name(self) -> str:
        """Its name in the suite."""
        return self.manifest.dataset

    def require_unchanged(self) -> None:
        """Compare files that were touched since with the manifest once more. ManifestError where one differs."""
        touched = [
            entry for entry in self.manifest.files if _stamp(self.folder / entry.path) != self.stamps.get(entry.path)
        ]
        verify_files(touched, self.folder, f"It changed while it was read. {self.remedy}")


@dataclass(frozen=True)
class Sample:
    """One image of a set with its label (a class, or a 0 or 1 a class) or its captions."""

    image: Image.Image
    label: int | list[int] | None
    captions: list[str] | None


@dataclass(frozen=True)
class ImageBatch:
    """Images ready for a model. pixels: (n, size, size, 3) uint8. labels, captions: as in `Sample`, one an image.

    skipped: samples that were left out since the batch before. is_lent: the pixels hold until the next batch is asked
    for, whose memory theirs is.
    """

    pixels: Tensor
    labels: list[int | list[int]]
    captions: list[list[str]]
    skipped: int = 0
    is_lent: bool = False

    def kept(self) -> ImageBatch:
        """The same batch with pixels of its own."""
        return replace(self, pixels=self.pixels.clone(), is_lent=False) if self.is_lent else self


def open_set(manifest_path: Path) -> EvaluationSet:
    """Check a set's files against its manifest, by size and hash. ManifestError where one differs."""
    manifest = EvaluationSetManifest.read(manifest_path)
    folder, remedy = manifest.home(manifest_path), remake(manifest_path)
    stamps = {entry.path: _stamp(folder / entry.path) for entry in manifest.files}
    verify_files(manifest.files, folder, remedy)
    files = canonical_json([asdict(entry) for entry in manifest.files])
    return EvaluationSet(manifest, folder, hashlib.sha256(files.encode()).hexdigest(), stamps, remedy)


def _stamp(path: Path) -> tuple[int, ...]:
    """What changes with a file's content: its size, time and place; nothing where there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_size, found.st_mtime_ns, found.st_ino


def read_samples(
    folder: Path, split: str = "test", on_unreadable: str = "error", begin: int = 0
) -> Iterator[Sample | None]:
    """Yield the samples of a split, in order. EvaluationError where one cannot be read; None for it under "skip".

    begin: samples before it are passed over without decoding.
    """
    urls = [str(folder / path) for path in tar_paths(folder, split)]
    samples = webdataset.WebDataset(urls, shardshuffle=False, empty_check=False, nodesplitter=_all_shards)
    for sample in itertools.islice(samples, begin, None):
        try:
            yield as_sample(sample, f"{sample['__url__']}: {sample['__key__']}")
        except EvaluationError as error:
            if on_unreadable == "error":
                raise
            log.warning(f"left out: {error}")
            yield None


def _all_shards(urls: Iterable[Any]) -> Iterable[Any]:
    """Give every rank of a validation the whole set."""
    return urls


def as_sample(sample: Mapping[str, Any], place: str) -> Sample:
    """Decode a sample of encoded members by extension. place: for the EvaluationError where it cannot be read."""
    image = _decode(sample, place)
    label: int | list[int] | None = None
    captions = None
    try:
        if "cls" in sample:
            label = int(sample["cls"])
        if "npy" in sample:  # several classes an image
            label = np.load(io.BytesIO(sample["npy"])).astype(int).tolist()
        if "txt" in sample:
            captions = [line for line in sample["txt"].decode("utf-8").splitlines() if line]
    except (ValueError, EOFError) as error:
        raise EvaluationError(f"its label or caption cannot be read ({error})", place=place, remedy=REMEDY) from error
    if captions == []:
        raise EvaluationError("it has no caption", place=place, remedy=REMEDY)
    return Sample(image, label, captions)


def _decode(sample: Mapping[str, Any], place: str) -> Image.Image:
    kind = next((kind for kind in IMAGE_EXTENSIONS if kind in sample), None)
    if kind is None:
        raise EvaluationError(f"it has no image ({', '.join(IMAGE_EXTENSIONS)})", place=place, remedy=REMEDY)
    try:
        return with_image(sample[kind], _loaded)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise whatever the damage leads them to
        raise EvaluationError(f"it cannot be decoded ({error})", place=place, remedy=REMEDY) from error


def _loaded(image: Image.Image, _: bytes) -> Image.Image:
    image.load()
    return image


def read_batches(
    folder: Path,
    preprocess: Preprocess | int,
    batch_size: int,
    limit: int | None = None,
    split: str = "test",
    on_unreadable: str = "error",
    begin: int = 0,
) -> Generator[ImageBatch]:
    """Yield the first `limit` images of a split, in order, resized and cropped by open_clip's evaluation transform.

    preprocess: as the model was trained, or pixels a side where that was here. begin: samples that are passed over.
    EvaluationError where a sample cannot be read, unless on_unreadable is "skip": then it is left out and counted.
    """
    preprocess = Preprocess(preprocess) if isinstance(preprocess, int) else preprocess
    pixels: list[Tensor] = []
    labels: list[int | list[int]] = []
    captions: list[list[str]] = []
    count = skipped = 0
    for sample in read_samples(folder, split, on_unreadable, begin):
        if sample is None:
            skipped += 1
            continue
        pixels.append(preprocess.pixels(sample.image))
        if sample.label is not None:
            labels.append(sample.label)
        if sample.captions is not None:
            captions.append(sample.captions)
        count += 1
        if len(pixels) == batch_size or count == limit:
            yield ImageBatch(torch.stack(pixels), labels, captions, skipped)
            pixels, labels, captions, skipped = [], [], [], 0
        if count == limit:
            return
    if pixels:
        yield ImageBatch(torch.stack(pixels), labels, captions, skipped)


class KeptImages:
    """Decoded images in memory, for the next checkpoint of the same process. cap_mb: beyond it sets are read again."""

    def __init__(self, cap_mb: float = 300) -> None:
        self._left = cap_mb * 1e6
        self._kept: dict[Hashable, list[ImageBatch]] = {}

    def batches(self, key: Hashable, read: Callable[[], Iterator[ImageBatch]]) -> Generator[ImageBatch]:
        """Yield the batches of `read`, which must follow from the key alone."""
        if key in self._kept:
            yield from self._kept[key]
            return
        kept: list[ImageBatch] = []
        size = 0
        for batch in read():
            size += batch.pixels.nbytes
            if size <= self._left:
                kept.append(batch.kept())
            else:
                kept.clear()
            yield batch
        if size <= self._left:
            self._kept[key] = kept
            self._left -= size
