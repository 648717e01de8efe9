"""Data of the GPU benchmarks: photo-like JPEGs with captions of the web's lengths, in tars and packed."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from training_common import WORDS, write_manifest

from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.data.shards.write import write_shards, write_tar
from clip_scaling.models.tokenizer import clip_merges, write_merges
from clip_scaling.records.data import PackedManifest
from clip_scaling.records.files import FileEntry

END_OF_TEXT, CONTEXT = 49407, 77


def photo(random: np.random.Generator, side: int) -> bytes:
    """A JPEG of clouds of several sizes with some noise, `side` px on its shorter side."""
    wide = int(random.integers(side, side * 3 // 2))
    shape = (side, wide) if random.integers(2) else (wide, side)
    total = np.full((*shape, 3), 128.0, np.float32)
    for cells, weight in ((6, 40.0), (24, 22.0), (80, 10.0)):
        for channel in range(3):
            small = Image.fromarray(random.normal(size=(cells, cells)).astype(np.float32))
            total[..., channel] += weight * np.asarray(small.resize(shape[::-1], Image.Resampling.BICUBIC))
    total += random.normal(scale=5.0, size=total.shape)
    file = io.BytesIO()
    Image.fromarray(total.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=88)
    return file.getvalue()


def _photos(job: tuple[int, int, int]) -> list[bytes]:
    seed, count, side = job
    random = np.random.default_rng(seed)
    # Eight of them, each several times: decoding costs the same, and making them takes seconds.
    kinds = [photo(random, side) for _ in range(8)]
    return [kinds[number % len(kinds)] for number in range(count)]


def write_stream(root: Path, pairs: int, shards: int, side: int, processes: int) -> Path:
    """A subset in tars; returns its manifest."""
    random = np.random.default_rng(0)
    lengths = caption_lengths(random, pairs)
    each = -(-pairs // shards)
    with ProcessPoolExecutor(processes) as pool:
        images = [image for part in pool.map(_photos, [(seed, each, side) for seed in range(shards)]) for image in part]
    samples = (
        (f"photo/{n}", {"jpg": images[n], "txt": " ".join(random.choice(WORDS, lengths[n] - 2)).encode()})
        for n in range(pairs)
    )
    return write_manifest(root, write_shards(root, samples, pairs, each))


def caption_lengths(random: np.random.Generator, count: int) -> np.ndarray:
    """Tokens of captions, both ends included: log-normal with median 16, at most 77, as alt texts of the web."""
    return np.clip(np.rint(np.exp(random.normal(np.log(16), 0.55, count))), 4, CONTEXT).astype(int)


def write_packed(root: Path, pairs: int, side: int) -> Path:
    """A packed data set of noise with captions of the web's lengths; returns its manifest."""
    random = np.random.default_rng(0)
    root.mkdir(parents=True)
    np.save(root / "pixels.npy", random.integers(0, 256, (pairs, side, side, 3), dtype=np.uint8))
    np.save(root / "tokens.npy", noise_tokens(random, pairs))
    PackedManifest(
        data="noise", pairs=pairs, shard_pairs=[pairs], image_size=side, context_length=CONTEXT,
        vocabulary_size=END_OF_TEXT + 1, truncated_captions=0, tokenizer_sha256="0", order_digest="0",
        files=[FileEntry.of(root / name, root) for name in ("pixels.npy", "tokens.npy")],
    ).write(root / "manifest.json")  # fmt: skip
    return root / "manifest.json"


def noise_tokens(random: np.random.Generator, count: int) -> np.ndarray:
    """(count, 77) int32: random tokens, the end of text, then zeros."""
    tokens = random.integers(1, END_OF_TEXT - 1, (count, CONTEXT), dtype=np.int32)
    last = caption_lengths(random, count) - 1
    place = np.arange(CONTEXT)
    tokens[place[None] == last[:, None]] = END_OF_TEXT
    tokens[place[None] > last[:, None]] = 0
    return tokens


def write_evaluation(root: Path, images: int, classes: int, side: int, processes: int) -> Path:
    """A labelled set in clip-benchmark's layout, indexed; returns the index's manifest."""
    folder, tars = root / "wds_photos", max(1, min(15, images // 20))
    names = [f"{WORDS[n % len(WORDS)]} {WORDS[n // len(WORDS) % len(WORDS)]} {n}" for n in range(classes)]
    each = -(-images // tars)
    with ProcessPoolExecutor(processes) as pool:
        parts = list(pool.map(_photos, [(1000 + tar, each, side) for tar in range(tars)]))
    random = np.random.default_rng(1)
    for tar, part in enumerate(parts):
        write_tar(folder / f"test/{tar}.tar", _labelled(part, tar, random.integers(0, classes, len(part))))
    texts = {"test/nshards.txt": str(tars), "dataset_type.txt": "classification", "classnames.txt": "\n".join(names)}
    for name, text in (texts | {"zeroshot_classification_templates.txt": "a photo of {c}.\na drawing of {c}."}).items():
        (folder / name).write_text(text)
    index_evaluation_set(root / "photos", "photos", folder)
    return root / "photos/manifest.json"


def _labelled(images: list[bytes], tar: int, labels: np.ndarray) -> Iterator[tuple[str, dict[str, bytes]]]:
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        yield f"{tar:03d}-{number:05d}", {"jpg": image, "cls": str(label).encode()}


def write_tokenizer(path: Path) -> Path:
    """CLIP's own merges."""
    write_merges(path, clip_merges())
    return path
