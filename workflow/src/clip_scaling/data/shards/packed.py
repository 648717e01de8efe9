"""Pack a subset: decode and tokenise it once, into two memory-mapped arrays."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from PIL import Image, ImageOps

from ...errors import DataError
from ...models.tokenizer import load_tokenizer
from ...records.data import PackedManifest, SubsetManifest
from ...records.filenames import MANIFEST, PIXELS, TOKENS
from ...records.files import FileEntry, atomic_path, remake, sha256_file, verify_files
from ..progress import Progress
from .read import IMAGE_EXTENSIONS, PairReader, UnreadablePair, decode_caption, decode_image
from .verify import verify_before_reading
from .write import clear, write_array

log = logging.getLogger(__name__)
_NAMED = 5
"""Unreadable pairs that are named; the manifest has the rows of all."""
_Pair = tuple[np.ndarray, str] | UnreadablePair
"""(size, size, 3) uint8 and caption, or why a pair cannot be read."""


@dataclass(frozen=True)
class PackedPairs:
    """Packed pairs.

    pixels: (n, H, W, 3) uint8. tokens: (n, context) int32. Both mapped read-only; row i of each is a pair.
    """

    pixels: np.ndarray
    tokens: np.ndarray
    manifest: PackedManifest


def pack(
    root: Path,
    data_manifest: Path,
    merges: Path,
    image_size: int,
    context_length: int,
    max_lost_fraction: float = 0.0,
) -> None:
    """Write `pixels.npy`, `tokens.npy` and the manifest under root.

    Images of another size are resized as open_clip does (bicubic); of images that are not square, the middle square.
    A row whose pair cannot be read holds the next one that can; the manifest lists such rows.
    max_lost_fraction: share of the pairs that may be unreadable.
    ManifestError where a shard differs from its manifest, DataError where more pairs cannot be read.
    """
    subset = SubsetManifest.read(data_manifest)
    verify_before_reading(subset, data_manifest)
    tokenizer = load_tokenizer(merges, context_length)
    clear(root)
    captions: list[str] = []
    blank = np.zeros((image_size, image_size, 3), np.uint8)
    lost = _Lost(subset, max_lost_fraction)
    # Written as a stream, not through a memory map: on a full disk a map dies of SIGBUS without a word.
    with atomic_path(root / PIXELS) as temporary, open(temporary, "w+b") as file:
        shape = (subset.pairs, *blank.shape)
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        start = file.tell()
        for number, pair in enumerate(_read_pairs(data_manifest, subset, image_size)):
            if isinstance(pair, UnreadablePair):
                lost.add(number, pair)
            image, caption = (blank, "") if isinstance(pair, UnreadablePair) else pair
            file.write(image.tobytes())
            captions.append(caption)
        for row, other in lost.substitutes().items():
            file.seek(start + other * blank.nbytes)
            pixels = file.read(blank.nbytes)
            file.seek(start + row * blank.nbytes)
            file.write(pixels)
            captions[row] = captions[other]
    tokens, truncated = tokenize(captions, tokenizer, context_length)
    write_array(root / TOKENS, tokens)
    PackedManifest(
        data=subset.name,
        pairs=subset.pairs,
        shard_pairs=subset.shard_pairs,
        image_size=image_size,
        context_length=context_length,
        vocabulary_size=tokenizer.vocab_size,
        tokenizer_sha256=sha256_file(merges),
        truncated_captions=truncated,
        order_digest=subset.order_digest,
        files=[FileEntry.of(root / name, root) for name in (PIXELS, TOKENS)],
        **({"unreadable": lost.rows} if lost.rows else {}),
    ).write(root / MANIFEST)


class _Lost:
    """Rows of a subset that cannot be read. DataError once they are more than a share of all."""

    def __init__(self, subset: SubsetManifest, max_fraction: float) -> None:
        self.subset, self.most = subset, max_fraction * subset.pairs
        self.max_fraction = max_fraction
        self.rows: list[int] = []
        self._named: list[str] = []

    def add(self, row: int, error: UnreadablePair) -> None:
        """Count a row."""
        self.rows.append(row)
        if len(self._named) < _NAMED:
            self._named.append(str(error))
            log.warning(f"data={self.subset.name} row={row} holds the next pair: {error}")
        if len(self.rows) > self.most:
            raise DataError(
                f"{len(self.rows)} of {self.subset.pairs} pairs cannot be read, max_lost_fraction allows "
                f"{self.max_fraction:g}: {'; '.join(self._named)}",
                place=f"data {self.subset.name}",
                remedy=f"Get those again and delete the manifests of {self.subset.source} and {self.subset.name}, or "
                f"raise sources.{self.subset.source}.max_lost_fraction.",
            )

    def substitutes(self) -> dict[int, int]:
        """Row to the next readable one; after the last comes the first."""
        lost, pairs = set(self.rows), self.subset.pairs
        return {row: next(each for each in _after(row, pairs) if each not in lost) for row in self.rows}


def _after(row: int, pairs: int) -> Iterator[int]:
    return ((row + step) % pairs for step in range(1, pairs))


def tokenize(captions: list[str], tokenizer: Any, context_length: int) -> tuple[np.ndarray, int]:
    """Tokenise captions: (n, context_length) int32, and the number of captions that were cut to fit.

    Every distinct caption is tokenised once.
    """
    distinct, inverse = np.unique(np.array(captions, dtype=object), return_inverse=True)
    table = tokenizer([*distinct]).numpy().astype(np.int32)
    # A caption that fills its row is cut where it would have needed more room.
    full = np.flatnonzero(table[:, -1])
    cut = np.zeros(len(distinct), dtype=bool)
    cut[full] = [len(tokenizer.encode(distinct[row])) + 2 > context_length for row in full]
    return table[inverse], int(cut[inverse].sum())


def _read_pairs(path: Path, subset: SubsetManifest, image_size: int) -> Iterator[_Pair]:
    """Yield pixels and caption of every pair, or why it is unreadable, in order; as many as the manifest says."""
    progress = Progress("packed", subset.pairs)
    found = _read_listed(path, image_size) if subset.is_in_place else _read_shards(path, subset, image_size)
    for pair in found:
        yield pair
        progress.add(1)


def _read_shards(path: Path, subset: SubsetManifest, image_size: int) -> Iterator[_Pair]:
    for entry in subset.shards:
        shard, inside = path.parent / entry.path, 0
        for sample in webdataset.WebDataset(str(shard), shardshuffle=False, empty_check=False):
            encoded = next((sample[extension] for extension in IMAGE_EXTENSIONS if extension in sample), b"")
            yield _pair(encoded, sample["txt"], image_size, f"{entry.path}: {sample['__key__']}")
            inside += 1
        if inside != entry.pairs:
            raise DataError(
                f"{inside} pairs, the manifest promises {entry.pairs}",
                place=str(shard),
                remedy=f"Prepare {path.parent.name} again.",
            )


def _read_listed(path: Path, image_size: int) -> Iterator[_Pair]:
    """Read a list of pairs in existing tars."""
    with PairReader.open(path) as reader:
        for number in range(reader.pairs):
            try:
                image, caption = reader.read(number)
            except UnreadablePair as error:
                yield error
                continue
            yield _pair(image, caption, image_size, partial(reader.name, number))


def _pair(encoded: bytes, caption: bytes, image_size: int, name: str | Callable[[], str]) -> _Pair:
    try:
        return squared(decode_image(encoded), image_size), decode_caption(caption)
    except UnreadablePair as error:
        return UnreadablePair(f"{name if isinstance(name, str) else name()}: {error}")


def squared(rgb: Image.Image, image_size: int) -> np.ndarray:
    """Resize an RGB image (bicubic), or its middle square: (size, size, 3) uint8."""
    if rgb.width != rgb.height:
        rgb = ImageOps.fit(rgb, (image_size, image_size), Image.Resampling.BICUBIC)
    elif rgb.width != image_size:
        rgb = rgb.resize((image_size, image_size), Image.Resampling.BICUBIC)
    return np.asarray(rgb)


def open_packed(manifest_path: Path, *, is_hashing: bool = True) -> PackedPairs:
    """Map a packed data set read-only. ManifestError where an array is missing or is not what was written.

    is_hashing: False compares sizes alone, where another process of the job compares the hashes.
    """
    manifest, home = PackedManifest.read(manifest_path), manifest_path.parent
    verify_files(manifest.files, home, remake(manifest_path), hashes=is_hashing)
    pixels, tokens = (np.load(home / name, mmap_mode="r") for name in (PIXELS, TOKENS))
    return PackedPairs(pixels, tokens, manifest)
