"""scikit-learn's handwritten digits as an evaluation set with a training split: 1,797 images of 8 x 8 pixels.

The set has no split of its own: a fifth of each class, by the order of sha256(pixels), is the test split.
Source: E. Alpaydin and C. Kaynak 1998, optical recognition of handwritten digits, UCI (CC BY 4.0), as packaged by
scikit-learn (BSD).
"""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from ..manifests import describe_file, write_json, write_text
from .shards import clear, write_tar

CLASSES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TEMPLATES = ["{c}", "the digit {c}", "a drawing of the number {c}"]
TEST_SHARE = 0.2


def write_digits(root: Path, dataset: str) -> None:
    """Write `train/0.tar`, `test/0.tar`, their text files and the manifest under root, in clip-benchmark's layout."""
    from sklearn.datasets import load_digits

    found = load_digits()
    # 17 levels of ink on white, as the icons are drawn.
    pixels = 255 - np.rint(found.images * (255 / 16)).astype(np.uint8)
    order = sorted(range(len(pixels)), key=lambda row: hashlib.sha256(pixels[row].tobytes()).digest())
    by_class = {number: [row for row in order if found.target[row] == number] for number in range(10)}
    test = {row for rows in by_class.values() for row in rows[: round(TEST_SHARE * len(rows))]}
    clear(root, "train", "test")
    counts = {}
    for split in ("train", "test"):
        rows = [row for row in order if (row in test) == (split == "test")]
        write_tar(root / split / "0.tar", ((f"{row:05d}", _members(pixels[row], found.target[row])) for row in rows))
        write_text(root / split / "nshards.txt", "1\n")
        counts[split] = len(rows)
    texts = {"classnames.txt": CLASSES, "zeroshot_classification_templates.txt": TEMPLATES}
    for name, lines in (texts | {"dataset_type.txt": ["classification"]}).items():
        write_text(root / name, "".join(f"{line}\n" for line in lines))
    files = [f"{split}/{name}" for split in ("test", "train") for name in ("0.tar", "nshards.txt")]
    write_json(
        root / "manifest.json",
        {
            "kind": "evaluation",
            "format": 1,
            "dataset": dataset,
            "source": "scikit-learn digits",
            "task": "zeroshot_classification",
            "n": counts["test"],
            "n_train": counts["train"],
            "classes": CLASSES,
            "templates": TEMPLATES,
            "files": [describe_file(root / path, root) for path in sorted([*files, *texts, "dataset_type.txt"])],
        },
    )


def _members(image: np.ndarray, target: int) -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(image).convert("RGB").save(buffer, "png")
    return {"png": buffer.getvalue(), "cls": str(int(target)).encode()}
