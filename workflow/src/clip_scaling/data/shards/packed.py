"""A subset decoded and tokenised once, as two memory-mapped arrays: no decoder stands beside a small model."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import webdataset
from PIL import Image, ImageOps

from ...errors import DataError
from ...models.tokenizer import load_tokenizer
from ...records.files import atomic_path, describe_file, sha256_file, verify_files, write_json
from ...study.config.data import PACKED_FORMAT
from ..progress import Progress
from .read import IMAGE_EXTENSIONS, PairReader, UnreadablePair, decode_caption, decode_image
from .verify import verify_shards
from .write import clear, read_manifest


@dataclass(frozen=True)
class PackedPairs:
    """pixels: (n, H, W, 3) uint8. tokens: (n, context) int32. Both mapped read-only; row i of each is a pair."""

    pixels: np.ndarray
    tokens: np.ndarray
    manifest: dict[str, Any]


def pack(root: Path, data_manifest: Path, merges: Path, image_size: int, context_length: int) -> None:
    """Write `pixels.npy`, `tokens.npy` and the manifest under root.

    Images of another size are resized as open_clip does (bicubic), the middle square of those that are none.
    ManifestError where a shard differs from its manifest, DataError where an image in it cannot be read.
    """
    subset = read_manifest(data_manifest, "subset")
    home = data_manifest.parent
    remedy = f"Delete {data_manifest} and run `snakemake --cores all {data_manifest}`."
    if subset.get("is_in_place"):  # hashed as the source's `verify` asks, when the subset was listed
        verify_shards(subset["shards"], home, "size", remedy)
    else:
        verify_files(subset["shards"], home, remedy)
    tokenizer = load_tokenizer(merges, context_length)
    clear(root)
    captions: list[str] = []
    pixels_path, tokens_path = root / "pixels.npy", root / "tokens.npy"
    shape = (subset["pairs"], image_size, image_size, 3)
    # Written as a stream, not through a memory map: on a full disk a map dies of SIGBUS without a word.
    with atomic_path(pixels_path) as temporary, open(temporary, "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for image, caption in _read_pairs(home, subset, image_size):
            file.write(image.tobytes())
            captions.append(caption)
    tokens, truncated = tokenize(captions, tokenizer, context_length)
    with atomic_path(tokens_path) as temporary, open(temporary, "wb") as file:
        np.save(file, tokens)
    write_json(
        root / "manifest.json",
        {
            "kind": "packed",
            "format": PACKED_FORMAT,
            "data": subset["name"],
            "pairs": subset["pairs"],
            "shard_pairs": [entry["pairs"] for entry in subset["shards"]],
            "image_size": image_size,
            "context_length": context_length,
            "vocabulary_size": tokenizer.vocab_size,
            "tokenizer_sha256": sha256_file(merges),
            "truncated_captions": truncated,
            "order_digest": subset["order_digest"],
            "files": [describe_file(path, root) for path in (pixels_path, tokens_path)],
        },
    )


def tokenize(captions: list[str], tokenizer: Any, context_length: int) -> tuple[np.ndarray, int]:
    """(n, context_length) int32 tokens, and the number of captions that were cut to fit.

    Every distinct caption is tokenised once.
    """
    distinct, inverse = np.unique(np.array(captions, dtype=object), return_inverse=True)
    table = tokenizer([*distinct]).numpy().astype(np.int32)
    # A caption that fills its row is cut where it would have needed more room.
    full = np.flatnonzero(table[:, -1])
    cut = np.zeros(len(distinct), dtype=bool)
    cut[full] = [len(tokenizer.encode(distinct[row])) + 2 > context_length for row in full]
    return table[inverse], int(cut[inverse].sum())


def _read_pairs(home: Path, subset: dict[str, Any], image_size: int) -> Iterator[tuple[np.ndarray, str]]:
    """Pixels and caption of every pair, shard by shard; exactly as many as the manifest says."""
    progress = Progress("packed", subset["pairs"])
    if subset.get("is_in_place"):
        yield from _read_listed(home, subset, image_size, progress)
        return
    for entry in subset["shards"]:
        path, inside = home / entry["path"], 0
        for sample in webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False):
            yield _decode(sample, path, image_size), sample["txt"].decode("utf-8")
            inside += 1
        if inside != entry["pairs"]:
            raise DataError(
                f"{path}: {inside} pairs, the manifest promises {entry['pairs']}. Prepare {home.name} again."
            )
        progress.add(inside)


def _read_listed(
    home: Path, subset: dict[str, Any], image_size: int, progress: Progress
) -> Iterator[tuple[np.ndarray, str]]:
    """The same where the subset is a list into existing tars."""
    reader = PairReader(home / "manifest.json")
    for number in range(subset["pairs"]):
        try:
            image, caption = reader.read(number)
            pixels, text = squared(decode_image(image), image_size), decode_caption(caption)
        except UnreadablePair as error:
            raise DataError(
                f"{home / 'manifest.json'}: pair {number}: {error}. Set input: stream in resources.train, which takes "
                "another pair for an unreadable one and counts it."
            ) from None
        yield pixels, text
        progress.add(1)
    reader.close()


def _decode(sample: dict[str, Any], shard: Path, image_size: int) -> np.ndarray:
    try:
        encoded = next((sample[extension] for extension in IMAGE_EXTENSIONS if extension in sample), b"")
        with Image.open(io.BytesIO(encoded)) as image:
            rgb = image.convert("RGB")
    except (OSError, SyntaxError) as error:
        raise DataError(
            f"{shard}: the image of {sample['__key__']} cannot be decoded ({error}). "
            "Delete the data set's manifest and its source's, and prepare them again."
        ) from error
    return squared(rgb, image_size)


def squared(rgb: Image.Image, image_size: int) -> np.ndarray:
    """(size, size, 3) uint8 of an RGB image: resized (bicubic), the middle square of one that is none."""
    if rgb.width != rgb.height:
        rgb = ImageOps.fit(rgb, (image_size, image_size), Image.Resampling.BICUBIC)
    elif rgb.width != image_size:
        rgb = rgb.resize((image_size, image_size), Image.Resampling.BICUBIC)
    return np.asarray(rgb)


def open_packed(manifest_path: Path) -> PackedPairs:
    """Map a packed data set read-only. ManifestError where an array is missing or has another size."""
    manifest, home = read_manifest(manifest_path, "packed", PACKED_FORMAT), manifest_path.parent
    remedy = f"Delete {manifest_path} and run `snakemake --cores all {manifest_path}`."
    verify_files(manifest["files"], home, remedy, hashes=False)
    pixels, tokens = (np.load(home / name, mmap_mode="r") for name in ("pixels.npy", "tokens.npy"))
    return PackedPairs(pixels, tokens, manifest)
