"""Small evaluation sets and models whose answers are known by hand."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from clip_scaling.models.build import PREPROCESS
from clip_scaling.models.encode import Encoder, Tokenizer
from clip_scaling.models.preprocess import Preprocess

WORDS = [f"word{axis}" for axis in range(12)]


class Axes(nn.Module):
    """Image i of brightness 20 i lies on axis i; so does word i."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(0.0))

    def encode_image(self, images: Tensor) -> Tensor:
        mean, std = (torch.tensor(PREPROCESS[key]).reshape(1, 3, 1, 1) for key in ("mean", "std"))
        level = (images * std + mean).mean(dim=(1, 2, 3)) * 255
        return torch.eye(len(WORDS))[(level / 20).round().long()]

    def encode_text(self, tokens: Tensor) -> Tensor:
        return torch.eye(len(WORDS))[tokens[:, 0]]


def tokenizer(texts: str | list[str]) -> Tensor:
    return torch.tensor([[WORDS.index(text)] for text in ([texts] if isinstance(texts, str) else texts)])


def write_set(
    folder: Path, images: list[Image.Image], labels: dict[str, list[str] | list[bytes]], files: dict[str, str]
) -> Path:
    """A set in clip-benchmark's layout; labels: extension -> one text, or the bytes of one file, an image."""
    (folder / "test").mkdir(parents=True)
    with tarfile.open(folder / "test" / "0.tar", "w") as tar:
        for row, image in enumerate(images):
            picture = io.BytesIO()
            image.save(picture, "png")
            members = {"png": picture.getvalue()}
            for kind, contents in labels.items():
                label = contents[row]
                members[kind] = label if isinstance(label, bytes) else label.encode()
            for kind, content in members.items():
                info = tarfile.TarInfo(f"{row:03d}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    for name, text in ({"test/nshards.txt": "1"} | files).items():
        (folder / name).write_text(text)
    return folder


def levels(brightness: list[int]) -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), (20 * level,) * 3) for level in brightness]


def encoder_of(model: Any, tokens: Tokenizer = tokenizer, size: int = 8) -> Encoder:
    return Encoder(model, tokens, Preprocess(size), torch.device("cpu"), {"precision": "fp32"})


def random_images(count: int, size: tuple[int, int]) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(count)]


def hashed(texts: str | list[str]) -> Tensor:
    """Tokens of any text: its bytes, modulo the vocabulary."""
    rows = [
        [byte % 62 + 1 for byte in text.encode()][-5:] + [63] for text in ([texts] if isinstance(texts, str) else texts)
    ]
    return torch.tensor([row + [0] * (6 - len(row)) for row in rows])
