"""Zero-shot metrics on sets whose answer is known by hand: images and words are axes of one space."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from clip_scaling.errors import EvaluationError
from clip_scaling.evaluate.zeroshot import classification, contrastive_loss, open_set, retrieval

WORDS = [f"word{axis}" for axis in range(12)]


class Axes(nn.Module):
    """Image i of brightness 20 i lies on axis i; so does word i."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(0.0))

    def encode_image(self, images: Tensor) -> Tensor:
        return torch.eye(len(WORDS))[(images.mean(dim=(1, 2, 3)) * 255 / 20).round().long()]

    def encode_text(self, tokens: Tensor) -> Tensor:
        return torch.eye(len(WORDS))[tokens[:, 0]]


def tokenizer(texts: str | list[str]) -> Tensor:
    return torch.tensor([[WORDS.index(text)] for text in ([texts] if isinstance(texts, str) else texts)])


def transform(image: Any) -> Tensor:
    return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float() / 255


def write_set(folder: Path, brightness: list[int], labels: dict[str, list[str]], files: dict[str, str]) -> Path:
    """A set in clip-benchmark's layout; labels: extension -> one text an image."""
    (folder / "test").mkdir(parents=True)
    with tarfile.open(folder / "test" / "0.tar", "w") as tar:
        for row, level in enumerate(brightness):
            picture = io.BytesIO()
            Image.new("RGB", (8, 8), (20 * level,) * 3).save(picture, "png")
            members = {"png": picture.getvalue()} | {kind: texts[row].encode() for kind, texts in labels.items()}
            for kind, content in members.items():
                info = tarfile.TarInfo(f"{row:03d}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    for name, text in ({"test/nshards.txt": "1"} | files).items():
        (folder / name).write_text(text)
    return folder


def test_classification_counts_what_is_right(tmp_path: Path) -> None:
    # Twelve classes; images on axes 0 0 1 2, labelled 0 1 1 2: three of four right; recall 1, 1/2, 1 over 3 classes.
    folder = write_set(
        tmp_path / "eval-x",
        [0, 0, 1, 2],
        {"cls": ["0", "1", "1", "2"]},
        {"classnames.txt": "\n".join(WORDS), "zeroshot_classification_templates.txt": "{c}"},
    )
    dataset, batches = open_set(folder, "zeroshot_classification", transform, 3)
    rows = {row.metric: row for row in classification("x", Axes(), tokenizer, dataset, batches, "cpu")}
    assert rows["acc1"].value == pytest.approx(0.75)
    assert rows["mean_per_class_recall"].value == pytest.approx((1 + 0.5 + 1) / 3)
    assert all(row.n == 4 and row.ci_low <= row.value <= row.ci_high for row in rows.values())


def test_retrieval_counts_hits_in_both_directions(tmp_path: Path) -> None:
    # Twelve images on axes of their own; the captions of the last two are exchanged.
    captions = [*WORDS[:10], WORDS[11], WORDS[10]]
    folder = write_set(tmp_path / "eval-y", list(range(12)), {"txt": captions}, {"dataset_type.txt": "retrieval"})
    _, batches = open_set(folder, "zeroshot_retrieval", transform, 5)
    rows = {row.metric: row for row in retrieval("y", Axes(), tokenizer, batches, "cpu")}
    assert rows["image_retrieval_recall@1"].value == pytest.approx(10 / 12)
    assert rows["text_retrieval_recall@1"].value == pytest.approx(10 / 12)
    assert all(row.n == 12 for row in rows.values())


def test_the_contrastive_loss_is_that_of_its_closed_form(tmp_path: Path) -> None:
    # Twelve pairs on axes of their own, in two batches of six at scale 1: every row's loss is log(e + 5) - 1.
    folder = write_set(tmp_path / "eval-z", list(range(12)), {"txt": WORDS}, {"dataset_type.txt": "retrieval"})
    _, batches = open_set(folder, "zeroshot_retrieval", transform, 4)
    row = contrastive_loss("z", Axes(), tokenizer, batches, 6, "cpu")
    assert row.value == pytest.approx(np.log(np.e + 5) - 1, rel=1e-6)
    assert row.n == 12


def test_too_few_pairs_for_the_fixed_batch_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "eval-w", [0, 1], {"txt": WORDS[:2]}, {"dataset_type.txt": "retrieval"})
    _, batches = open_set(folder, "zeroshot_retrieval", transform, 4)
    with pytest.raises(EvaluationError, match="2 pairs, fewer than evaluation.loss_batch_size 3"):
        contrastive_loss("w", Axes(), tokenizer, batches, 3, "cpu")


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    class Diverged(Axes):
        def encode_image(self, images: Tensor) -> Tensor:
            return super().encode_image(images) * float("nan")

    folder = write_set(
        tmp_path / "eval-v",
        [0],
        {"cls": ["0"]},
        {"classnames.txt": "word0\nword1", "zeroshot_classification_templates.txt": "{c}"},
    )
    dataset, batches = open_set(folder, "zeroshot_classification", transform, 4)
    with pytest.raises(EvaluationError, match="not finite"):
        classification("v", Diverged(), tokenizer, dataset, batches, "cpu")
