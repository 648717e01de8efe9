"""Zero-shot metrics: answers known by hand, and the same numbers as clip-benchmark."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from clip_scaling.errors import EvaluationError
from clip_scaling.evaluate.encode import Features, encode_classes, encode_set, read_batches
from clip_scaling.evaluate.intervals import wilson
from clip_scaling.evaluate.metrics import (
    Measured,
    classification,
    contrastive_loss,
    mean_of,
    multilabel,
    probe,
    retrieval,
)
from clip_scaling.models.build import PREPROCESS, build_model

WORDS = [f"word{axis}" for axis in range(12)]
CPU = torch.device("cpu")
MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 6, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


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


def write_set(folder: Path, images: list[Image.Image], labels: dict[str, list[str]], files: dict[str, str]) -> Path:
    """A set in clip-benchmark's layout; labels: extension -> one text an image."""
    (folder / "test").mkdir(parents=True)
    with tarfile.open(folder / "test" / "0.tar", "w") as tar:
        for row, image in enumerate(images):
            picture = io.BytesIO()
            image.save(picture, "png")
            members = {"png": picture.getvalue()} | {kind: texts[row].encode() for kind, texts in labels.items()}
            for kind, content in members.items():
                info = tarfile.TarInfo(f"{row:03d}.{kind}")
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    for name, text in ({"test/nshards.txt": "1"} | files).items():
        (folder / name).write_text(text)
    return folder


def levels(brightness: list[int]) -> list[Image.Image]:
    return [Image.new("RGB", (8, 8), (20 * level,) * 3) for level in brightness]


def classify(folder: Path, model: Any = None, batch_size: int = 3) -> list[Measured]:
    model = model or Axes()
    features = encode_set(model, tokenizer, read_batches(folder, 8, batch_size), CPU)
    return classification("x", features, encode_classes(model, tokenizer, WORDS, ["{c}"], CPU))


def by_name(rows: list[Measured]) -> dict[str, Measured]:
    return {row.metric: row for row in rows}


def test_classification_counts_what_is_right(tmp_path: Path) -> None:
    # Twelve classes; images on axes 0 0 1 2, labelled 0 1 1 2: three of four right; recall 1, 1/2, 1 over 3 classes.
    rows = by_name(classify(write_set(tmp_path / "x", levels([0, 0, 1, 2]), {"cls": ["0", "1", "1", "2"]}, {})))
    assert rows["acc1"].value == pytest.approx(0.75)
    assert rows["mean_per_class_recall"].value == pytest.approx((1 + 0.5 + 1) / 3)
    assert all(row.n == 4 and row.ci_low <= row.value <= row.ci_high for row in rows.values())


def test_retrieval_counts_hits_in_both_directions(tmp_path: Path) -> None:
    # Twelve images on axes of their own; the captions of the last two are exchanged.
    captions = [*WORDS[:10], WORDS[11], WORDS[10]]
    folder = write_set(tmp_path / "y", levels(list(range(12))), {"txt": captions}, {})
    rows = by_name(retrieval("y", encode_set(Axes(), tokenizer, read_batches(folder, 8, 5), CPU)))
    assert rows["image_retrieval_recall@1"].value == pytest.approx(10 / 12)
    assert rows["text_retrieval_recall@1"].value == pytest.approx(10 / 12)
    assert all(row.n == 12 for row in rows.values())


def test_the_contrastive_loss_is_that_of_its_closed_form(tmp_path: Path) -> None:
    # Twelve pairs on axes of their own, in two batches of six at scale 1: every row's loss is log(e + 5) - 1.
    folder = write_set(tmp_path / "z", levels(list(range(12))), {"txt": WORDS}, {})
    features = encode_set(Axes(), tokenizer, read_batches(folder, 8, 4), CPU)
    row = contrastive_loss("z", features, 1.0, 6)
    assert row.value == pytest.approx(np.log(np.e + 5) - 1, rel=1e-6)
    assert row.n == 12


def test_the_loss_takes_the_first_of_several_captions(tmp_path: Path) -> None:
    captions = [f"{word}\n{WORDS[0]}" for word in WORDS]
    folder = write_set(tmp_path / "z", levels(list(range(12))), {"txt": captions}, {})
    features = encode_set(Axes(), tokenizer, read_batches(folder, 8, 5), CPU)
    assert len(features.texts) == 24
    assert contrastive_loss("z", features, 1.0, 6).value == pytest.approx(np.log(np.e + 5) - 1, rel=1e-6)


def test_too_few_pairs_for_the_fixed_batch_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "w", levels([0, 1]), {"txt": WORDS[:2]}, {})
    features = encode_set(Axes(), tokenizer, read_batches(folder, 8, 4), CPU)
    with pytest.raises(EvaluationError, match="2 pairs, fewer than evaluation.loss_batch_size 3"):
        contrastive_loss("w", features, 1.0, 3)


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    class Diverged(Axes):
        def encode_image(self, images: Tensor) -> Tensor:
            return super().encode_image(images) * float("nan")

    with pytest.raises(EvaluationError, match="not finite"):
        classify(write_set(tmp_path / "v", levels([0]), {"cls": ["0"]}, {}), Diverged())


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "t", [Image.effect_noise((64, 64), 50).convert("RGB")], {"cls": ["0"]}, {})
    tar = folder / "test" / "0.tar"
    data = bytearray(tar.read_bytes())
    data[700:3000] = bytes(2300)
    tar.write_bytes(data)
    with pytest.raises(EvaluationError, match=r"0\.tar: 000 cannot be decoded"):
        list(read_batches(folder, 8, 1))


def random_images(count: int, size: tuple[int, int]) -> list[Image.Image]:
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)) for _ in range(count)]


def hashed(texts: str | list[str]) -> Tensor:
    """Tokens of any text: its bytes, modulo the vocabulary."""
    rows = [
        [byte % 62 + 1 for byte in text.encode()][-5:] + [63] for text in ([texts] if isinstance(texts, str) else texts)
    ]
    return torch.tensor([row + [0] * (6 - len(row)) for row in rows])


@pytest.mark.parametrize("size", [(16, 16), (20, 31)])
def test_every_metric_is_clip_benchmarks(tmp_path: Path, size: tuple[int, int]) -> None:
    os.environ["TQDM_DISABLE"] = "1"
    from clip_benchmark.datasets.builder import build_dataset
    from clip_benchmark.metrics import zeroshot_classification as theirs
    from clip_benchmark.metrics import zeroshot_retrieval
    from open_clip.transform import PreprocessCfg, image_transform_v2

    torch.manual_seed(0)
    model: Any = build_model(MODEL).eval()
    images, classes = random_images(60, size), [f"thing {n}" for n in range(7)]
    templates = ["a {c}", "{c} icon"]
    numbers = {"cls": [str(n % 7) for n in range(60)]}
    files = {"classnames.txt": "\n".join(classes), "zeroshot_classification_templates.txt": "\n".join(templates)}
    labelled = write_set(tmp_path / "labelled", images, numbers, files)
    captions = {"txt": [f"scene {n}" if n % 3 else f"scene {n}\nanother {n}" for n in range(60)]}
    captioned = write_set(tmp_path / "captioned", images, captions, {"dataset_type.txt": "retrieval"})
    transform = image_transform_v2(PreprocessCfg(size=16), is_train=False)

    def batches(folder: Path, task: str) -> Any:
        dataset = build_dataset(f"wds/{folder.name}", root=str(folder), transform=transform, split="test", task=task)
        return dataset, torch.utils.data.DataLoader(dataset.batched(16), batch_size=None, num_workers=0)

    dataset, loader = batches(labelled, "zeroshot_classification")
    weights = theirs.zero_shot_classifier(model, hashed, dataset.classes, dataset.templates, "cpu", amp=False)
    logits, target = theirs.run_classification(model, weights, loader, "cpu", amp=False)
    expected = dict(zip(("acc1", "acc5"), theirs.accuracy(logits, target, topk=(1, 5)), strict=True))
    features = encode_set(model, hashed, read_batches(labelled, 16, 16), CPU)
    ours = by_name(classification("l", features, encode_classes(model, hashed, classes, templates, CPU)))
    _, loader = batches(captioned, "zeroshot_retrieval")
    expected |= zeroshot_retrieval.evaluate(model, loader, hashed, "cpu", amp=False, recall_k_list=[1, 5, 10])
    ours |= by_name(retrieval("c", encode_set(model, hashed, read_batches(captioned, 16, 16), CPU)))
    assert expected.keys() == ours.keys() - {"mean_per_class_recall"}
    for name, value in expected.items():
        assert ours[name].value == pytest.approx(float(value), abs=1e-6), name


def test_mean_average_precision_is_clip_benchmarks() -> None:
    from clip_benchmark.metrics.zeroshot_classification import average_precision_per_class

    generator = torch.Generator().manual_seed(0)
    images = torch.randn(40, 8, generator=generator)
    classes = torch.randn(5, 8, generator=generator)
    labels = (torch.rand(40, 5, generator=generator) < 0.3).long()
    labels[:, 4] = 0  # a class without any image
    features = Features(images, labels, torch.empty(0, 8), torch.empty(0, dtype=torch.long))
    row = multilabel("x", features, classes)
    assert row.value == pytest.approx(average_precision_per_class(images @ classes.T, labels).mean().item(), abs=1e-6)
    assert row.ci_low < row.value < row.ci_high


def test_a_mean_over_sets_is_plain_and_its_error_adds_up() -> None:
    rows = [
        Measured(name, "t", "acc1", value, value - 0.03, value + 0.04, 10) for name, value in (("a", 0.2), ("b", 0.6))
    ]
    mean = mean_of("both", "acc1", rows)
    assert mean.value == pytest.approx(0.4)
    # Two independent errors of .03: sqrt(2) x .03 / 2.
    assert mean.ci_low == pytest.approx(0.4 - 0.03 / 2**0.5) and mean.ci_high == pytest.approx(0.4 + 0.04 / 2**0.5)


def test_a_probes_interval_grows_with_the_spread_of_its_draws() -> None:
    alone, spread = probe("p", 0.5, 0.0, 1, 100), probe("p", 0.5, 0.1, 4, 100)
    assert (alone.ci_low, alone.ci_high) == pytest.approx(wilson(0.5, 100))
    half = 0.5 - alone.ci_low
    assert 0.5 - spread.ci_low == pytest.approx(np.hypot(half, 1.959964 * 0.1 / 2))
