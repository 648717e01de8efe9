"""Pack a subset: decode and tokenise it once, into two memory-mapped arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
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


@dataclass(frozen=True)
class PackedPairs:
    """Packed pairs.

    pixels: (n, H, W, 3) uint8. tokens: (n, context) int32. Both mapped read-only; row i of each is a pair.
    """

    pixels: np.ndarray
    tokens: np.ndarray
    manifest: PackedManifest


def pack(root: Path, data_manifest: Path, merges: Path, image_size: int, context_length: int) -> None:
    """Write `pixels.npy`, `tokens.npy` and the manifest under root.

    Images of another size are resized as open_clip does (bicubic); of images that are not square, the middle square.
    ManifestError where a shard differs from its manifest, DataError where an image in it cannot be read.
    """
    subset = SubsetManifest.read(data_manifest)
    verify_before_reading(subset, data_manifest)
    tokenizer = load_tokenizer(merges, context_length)
    clear(root)
    captions: list[str] = []
    shape = (subset.pairs, image_size, image_size, 3)
    # Written as a stream, not through a memory map: on a full disk a map dies of SIGBUS without a word.
    with atomic_path(root / PIXELS) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for image, caption in _read_pairs(data_manifest, subset, image_size):
            file.write(image.tobytes())
            captions.append(caption)
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
    ).write(root / MANIFEST)


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


def _read_pairs(path: Path, subset: SubsetManifest, image_size: int) -> Iterator[tuple[np.ndarray, str]]:
    """Yield pixels and caption of every pair, in order; exactly as many as the manifest at `path` says."""
    progress = Progress("packed", subset.pairs)
    found = _read_listed(path, image_size) if subset.is_in_place else _read_shards(path, subset, image_size)
    for pair in found:
        yield pair
        progress.add(1)


def _read_shards(path: Path, subset: SubsetManifest, image_size: int) -> Iterator[tuple[np.ndarray, str]]:
    for entry in subset.shards:
        shard, inside = path.parent / entry.path, 0
        for sample in webdataset.WebDataset(str(shard), shardshuffle=False, empty_check=False):
            yield _decode(sample, shard, image_size), sample["txt"].decode("utf-8")
            inside += 1
        if inside != entry.pairs:
            raise DataError(
                f"{inside} pairs, the manifest promises {entry.pairs}",
                place=str(shard),
                remedy=f"Prepare {path.parent.name} again.",
            )


def _read_listed(path: Path, image_size: int) -> Iterator[tuple[np.ndarray, str]]:
    """Read a list of pairs in existing tars."""
    with PairReader.open(path) as reader:
        for number in range(reader.pairs):
            try:
                image, caption = reader.read(number)
                yield squared(decode_image(image), image_size), decode_caption(caption)
            except UnreadablePair as error:
                raise DataError(
                    f"pair {number}: {error}",
                    place=str(path),
                    remedy="Set input: stream in resources.train, which takes another pair for an unreadable one and "
                    "counts it.",
                ) from None


def _decode(sample: dict[str, Any], shard: Path, image_size: int) -> np.ndarray:
    encoded = next((sample[extension] for extension in IMAGE_EXTENSIONS if extension in sample), b"")
    try:
        rgb = decode_image(encoded)
    except UnreadablePair as error:
        raise DataError(
            f"{sample['__key__']}: {error}",
            place=str(shard),
            remedy="Delete the data set's manifest and its source's, and prepare them again.",
        ) from error
    return squared(rgb, image_size)


def squared(rgb: Image.Image, image_size: int) -> np.ndarray:
    """Resize an RGB image (bicubic), or its middle square: (size, size, 3) uint8."""
    if rgb.width != rgb.height:
        rgb = ImageOps.fit(rgb, (image_size, image_size), Image.Resampling.BICUBIC)
    elif rgb.width != image_size:
        rgb = rgb.resize((image_size, image_size), Image.Resampling.BICUBIC)
    return np.asarray(rgb)


def open_packed(manifest_path: Path) -> PackedPairs:
    """Map a packed data set read-only. ManifestError where an array is missing or has another size."""
    manifest, home = PackedManifest.read(manifest_path), manifest_path.parent
    verify_files(manifest.files, home, remake(manifest_path), hashes=False)
    pixels, tokens = (np.load(home / name, mmap_mode="r") for name in (PIXELS, TOKENS))
    return PackedPairs(pixels, tokens, manifest)
