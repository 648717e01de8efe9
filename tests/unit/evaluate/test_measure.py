"""Zero-shot metrics: answers known by hand, and the same numbers as clip-benchmark."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from clip_scaling.data.evaluation_sets.read import read_batches
from clip_scaling.errors import EvaluationError
from clip_scaling.evaluate.features import Features, encode_set
from clip_scaling.evaluate.measure import classification, contrastive_loss, mean_of, multilabel, probe, retrieval
from clip_scaling.evaluate.uncertainty import wilson
from clip_scaling.models.build import build_model
from clip_scaling.records.evaluation import Measured

from .examples import WORDS, Axes, encoder_of, hashed, levels, random_images, write_set

MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 6, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
}


def classify(folder: Path, model: Any = None, batch_size: int = 3) -> list[Measured]:
    encoder = encoder_of(model or Axes())
    features = encode_set(encoder, read_batches(folder, 8, batch_size))
    return classification("x", features, encoder.classes(WORDS, ["{c}"]))


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
    rows = by_name(retrieval("y", encode_set(encoder_of(Axes()), read_batches(folder, 8, 5))))
    assert rows["image_retrieval_recall@1"].value == pytest.approx(10 / 12)
    assert rows["text_retrieval_recall@1"].value == pytest.approx(10 / 12)
    assert all(row.n == 12 for row in rows.values())


def test_the_contrastive_loss_is_that_of_its_closed_form(tmp_path: Path) -> None:
    # Twelve pairs on axes of their own, in two batches of six at scale 1: every row's loss is log(e + 5) - 1.
    folder = write_set(tmp_path / "z", levels(list(range(12))), {"txt": WORDS}, {})
    features = encode_set(encoder_of(Axes()), read_batches(folder, 8, 4))
    row = contrastive_loss("z", features, 1.0, 6)
    assert row.value == pytest.approx(np.log(np.e + 5) - 1, rel=1e-6)
    assert row.n == 12


def test_the_loss_takes_the_first_of_several_captions(tmp_path: Path) -> None:
    captions = [f"{word}\n{WORDS[0]}" for word in WORDS]
    folder = write_set(tmp_path / "z", levels(list(range(12))), {"txt": captions}, {})
    features = encode_set(encoder_of(Axes()), read_batches(folder, 8, 5))
    assert len(features.texts) == 24
    assert contrastive_loss("z", features, 1.0, 6).value == pytest.approx(np.log(np.e + 5) - 1, rel=1e-6)


def test_too_few_pairs_for_the_fixed_batch_are_refused(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "w", levels([0, 1]), {"txt": WORDS[:2]}, {})
    features = encode_set(encoder_of(Axes()), read_batches(folder, 8, 4))
    with pytest.raises(EvaluationError, match="2 pairs, fewer than evaluation.loss_batch_size 3"):
        contrastive_loss("w", features, 1.0, 3)


def test_outputs_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    class Diverged(Axes):
        def encode_image(self, images: Tensor) -> Tensor:
            return super().encode_image(images) * float("nan")

    with pytest.raises(EvaluationError, match="not finite"):
        classify(write_set(tmp_path / "v", levels([0]), {"cls": ["0"]}, {}), Diverged())


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
    encoder = encoder_of(model, hashed, 16)
    features = encode_set(encoder, read_batches(labelled, 16, 16))
    ours = by_name(classification("l", features, encoder.classes(classes, templates)))
    _, loader = batches(captioned, "zeroshot_retrieval")
    expected |= zeroshot_retrieval.evaluate(model, loader, hashed, "cpu", amp=False, recall_k_list=[1, 5, 10])
    ours |= by_name(retrieval("c", encode_set(encoder, read_batches(captioned, 16, 16))))
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
        Measured(dataset=name, task="t", metric="acc1", value=value, ci_low=value - 0.03, ci_high=value + 0.04, n=10)
        for name, value in (("a", 0.2), ("b", 0.6))
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
