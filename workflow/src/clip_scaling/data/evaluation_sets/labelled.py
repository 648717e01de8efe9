"""Small labelled images as evaluation sets with a training split: scikit-learn's digits, and files in MNIST's format.

scikit-learn's 1,797 digits of 8 x 8 pixels have no split of their own: a fifth of each class, by the order of
sha256(pixels), is the test split. Source: E. Alpaydin and C. Kaynak 1998, optical recognition of handwritten digits,
UCI (CC BY 4.0), as packaged by scikit-learn (BSD).

MNIST's format (IDX, gzipped): the bytes 0, 0, 8 (uint8) and the number of axes; the axes' sizes as big-endian uint32;
the values. Source: Y. LeCun, C. Cortes, C. Burges, the MNIST database, "file formats". Fashion-MNIST (Xiao et al. 2017,
MIT) has it too.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import DataError
from ...records.data import CLASSIFICATION, EvaluationSetManifest
from ...records.filenames import MANIFEST
from ..shards.write import clear, write_tar
from .layout import tar_path, write_texts

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
DIGIT_TEMPLATES = ["{c}", "the digit {c}", "a drawing of the number {c}"]
FASHION = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"]
FASHION_TEMPLATES = ["{c}", "{c} icon", "a photo of a {c}"]
TEST_SHARE = 0.2
AGAIN = "Get it again."
IDX_FILES = {"train": "train-{}-ubyte.gz", "test": "t10k-{}-ubyte.gz"}

Split = tuple[np.ndarray, np.ndarray]
"""Images (n, height, width) uint8, dark on white, and their classes (n,)."""


@dataclass(frozen=True)
class _About:
    """Name, origin, class names and templates of a set."""

    dataset: str
    source: str
    classes: list[str]
    templates: list[str]


def write_digits(root: Path, dataset: str) -> None:
    """Write scikit-learn's digits under root, in clip-benchmark's layout, and the manifest."""
    from sklearn.datasets import load_digits

    found = load_digits()
    # 17 levels of ink on white, as the icons are drawn.
    pixels = 255 - np.rint(found.images * (255 / 16)).astype(np.uint8)
    order = sorted(range(len(pixels)), key=lambda row: hashlib.sha256(pixels[row].tobytes()).digest())
    by_class = {number: [row for row in order if found.target[row] == number] for number in range(10)}
    test = {row for rows in by_class.values() for row in rows[: round(TEST_SHARE * len(rows))]}
    rows = {split: [row for row in order if (row in test) == (split == "test")] for split in ("train", "test")}
    splits = {split: (pixels[rows[split]], found.target[rows[split]]) for split in rows}
    _write(root, _About(dataset, "scikit-learn digits", DIGITS, DIGIT_TEMPLATES), splits, rows)


def write_idx(root: Path, dataset: str, folder: Path) -> None:
    """Write a set in MNIST's format under root, in clip-benchmark's layout, and the manifest.

    dataset: its name; with "fashion" in it the classes are Fashion-MNIST's, else the digits. DataError: a file that is
    not there, is no IDX file, or does not fit its labels.
    """
    splits, rows = {}, {}
    for split, template in IDX_FILES.items():
        images, labels = (read_idx(folder / template.format(kind)) for kind in ("images-idx3", "labels-idx1"))
        if images.ndim != 3 or labels.shape != images.shape[:1] or labels.max() > 9:
            raise DataError(
                f"{len(images)} {split} images of {images.ndim - 1} axes, {len(labels)} labels",
                place=str(folder),
                remedy=AGAIN,
            )
        splits[split] = (255 - images, labels)  # dark on white, as the icons are drawn
        rows[split] = range(len(images))
    prompts = (FASHION, FASHION_TEMPLATES) if "fashion" in dataset else (DIGITS, DIGIT_TEMPLATES)
    _write(root, _About(dataset, "MNIST's format", *prompts), splits, rows)


def read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of bytes. DataError where it is none."""
    try:
        content = gzip.decompress(path.read_bytes())
    except FileNotFoundError:
        remedy = "It is one of the four files of a set in MNIST's format."
        raise DataError("no such file", place=str(path), remedy=remedy) from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"not a whole gzip file ({error})", place=str(path), remedy=AGAIN) from error
    axes = content[3] if len(content) > 3 else 0
    head = 4 + 4 * axes
    if content[:3] != b"\0\0\x08" or len(content) < head:
        raise DataError("not an IDX file of bytes", place=str(path), remedy=AGAIN)
    shape = struct.unpack(f">{axes}I", content[4:head])
    if len(content) - head != math.prod(shape):
        values = " x ".join(map(str, shape))
        raise DataError(f"{len(content) - head} bytes for {values} values", place=str(path), remedy=AGAIN)
    return np.frombuffer(content, np.uint8, offset=head).reshape(shape)


def _write(root: Path, about: _About, splits: Mapping[str, Split], rows: Mapping[str, Sequence[int]]) -> None:
    """Write `train/0.tar`, `test/0.tar`, their text files and the manifest. rows: numbers that name the images."""
    clear(root, *splits)
    for split, (pixels, targets) in splits.items():
        named = zip(rows[split], pixels, targets, strict=True)
        samples = ((f"{row:05d}", _members(image, target)) for row, image, target in named)
        write_tar(root / tar_path(split), samples)
    EvaluationSetManifest(
        dataset=about.dataset,
        source=about.source,
        task=CLASSIFICATION,
        n=len(splits["test"][1]),
        n_train=len(splits["train"][1]),
        classes=about.classes,
        templates=about.templates,
        files=write_texts(root, CLASSIFICATION, about.classes, about.templates, list(splits)),
    ).write(root / MANIFEST)


def _members(image: np.ndarray, target: int) -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(image).convert("RGB").save(buffer, "png")
    return {"png": buffer.getvalue(), "cls": str(int(target)).encode()}
