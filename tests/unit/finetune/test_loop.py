"""Fine-tuning: shares of the rate by layer, exact continuation, and the weights in between."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from clip_scaling.data.evaluation_sets.labelled import write_digits
from clip_scaling.errors import EvaluationError
from clip_scaling.finetune import images as finetune_images
from clip_scaling.finetune.images import LabelledImages, StreamedImages, read_images
from clip_scaling.finetune.job import FineTuneJob, choose
from clip_scaling.finetune.loop import Classifier, Drawn, FineTune, accuracy, layer_groups, patched
from clip_scaling.models.build import build_model
from clip_scaling.models.checkpoint import save_checkpoint, weights_sha256
from clip_scaling.models.preprocess import Preprocess
from clip_scaling.models.tokenizer import train_merges, write_merges
from clip_scaling.records.evaluation import CheckpointMetrics, Mixture
from clip_scaling.records.files import sha256_file
from clip_scaling.study.config.evaluation import FineTuning
from clip_scaling.train import signals
from clip_scaling.train.state import StateFolder

CPU = torch.device("cpu")
MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 2},
    "text_cfg": {"context_length": 8, "vocab_size": 600, "width": 16, "heads": 2, "layers": 1},
}
FAST = {"epochs": 3, "batch_size": 16, "mixing": [0.0, 0.5, 1.0], "learning_rate": 3e-3}


def classifier(settings: FineTuning) -> Classifier:
    torch.manual_seed(0)
    model: Any = build_model(MODEL)
    return Classifier(model.visual, torch.nn.functional.normalize(torch.randn(2, 16), dim=-1), 10.0, settings)


def images() -> LabelledImages:
    """Forty noisy images, dark and light."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 2
    noise = torch.randint(0, 120, (40, 16, 16, 3), generator=generator)
    return LabelledImages((noise + 120 * labels[:, None, None, None]).to(torch.uint8), labels)


def run(folder: Path, workers: int = 0, **changes: Any) -> FineTune:
    settings = FineTuning(**FAST | changes)
    drawn = Drawn(images(), settings)
    return FineTune(classifier(settings), drawn, settings.learning_rate, StateFolder(folder), CPU, workers)


def test_each_layer_has_its_share_of_the_rate() -> None:
    settings = FineTuning(layer_decay=0.5, head="linear")
    model = classifier(settings)
    share = {id(p): group["share"] for group in layer_groups(model, settings) for p in group["params"]}
    named = dict(model.named_parameters())
    # Two blocks: the embedding is layer 0, the head layer 3.
    assert share[id(named["tower.conv1.weight"])] == 0.5**3
    assert share[id(named["tower.transformer.resblocks.0.mlp.c_fc.weight"])] == 0.5**2
    assert share[id(named["tower.transformer.resblocks.1.ln_2.bias"])] == 0.5
    assert share[id(named["head"])] == share[id(named["tower.proj"])] == 1
    assert len(share) == len(named)


def test_the_zero_shot_head_stays_frozen() -> None:
    settings = FineTuning(head="zeroshot")
    assert "head" not in {n for n, p in classifier(settings).named_parameters() if p.requires_grad}


def test_fine_tuning_learns(tmp_path: Path) -> None:
    tuned = run(tmp_path, epochs=8)
    assert tuned.run()
    assert accuracy(tuned.model, images(), CPU) > 0.9


AUGMENTED = {"rand_augment": "rand-m9-n2", "random_erase": 0.5, "crop_scale": (0.5, 1.0), "stochastic_depth": 0.5}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        AUGMENTED,
        {"precision": "bf16"},
    ],
    ids=["plain", "augmented", "bf16"],
)
def test_an_interrupted_run_ends_with_the_same_bits(tmp_path: Path, changes: dict[str, Any]) -> None:
    whole = run(tmp_path / "whole", **changes)
    whole.run()
    signals.listen()
    try:
        first = run(tmp_path / "cut", **changes)
        os.kill(os.getpid(), signal.SIGTERM)
        assert first.run() is False
        signals.forget()
        second = run(tmp_path / "cut", **changes)
        second.steps = 4
        second.run()
        second.save()
        third = run(tmp_path / "cut", **changes)
        assert third.run()
    finally:
        signals.forget()
    for name in ("model", "average"):
        a, b = (getattr(tuning, name) for tuning in (whole, third))
        assert weights_sha256(a.state_dict()) == weights_sha256(b.state_dict())


def test_mixtures_lie_between_zero_shot_and_fine_tuned(tmp_path: Path) -> None:
    settings = FineTuning(**FAST)
    start, tuned = classifier(settings), run(tmp_path)
    tuned.run()
    mixtures = dict(patched(start, tuned.model, [0.0, 0.25, 1.0]))
    assert weights_sha256(mixtures[0.0].state_dict()) == weights_sha256(start.state_dict())
    assert weights_sha256(mixtures[1.0].state_dict()) == weights_sha256(tuned.model.state_dict())
    a, b, c = (m.state_dict()["tower.conv1.weight"] for m in (start, mixtures[0.25], tuned.model))
    assert torch.allclose(b, 0.75 * a + 0.25 * c, atol=1e-7)


def test_the_mixture_is_the_best_that_the_control_allows() -> None:
    table = [
        Mixture(share=0.0, validation=0.2, control=0.500, test=0.2),
        Mixture(share=0.5, validation=0.8, control=0.491, test=0.7),
        Mixture(share=1.0, validation=0.9, control=0.300, test=0.9),
    ]
    assert choose(table, 0.01).share == 0.5
    assert choose(table, 0.5).share == 1.0
    assert choose(table, 0.001).share == 0.0


def test_a_checkpoint_is_fine_tuned_on_digits_and_measured(tmp_path: Path) -> None:
    write_merges(tmp_path / "merges.txt.gz", train_merges(["the digit one two three"] * 3, 600))
    torch.manual_seed(0)
    about = {"cell": "c", "state": "trained", "model_config": MODEL}
    about["tokenizer_sha256"] = sha256_file(tmp_path / "merges.txt.gz")
    save_checkpoint(tmp_path / "checkpoint.pt", build_model(MODEL).state_dict(), about)
    write_digits(tmp_path / "digits", "digits")
    manifest = tmp_path / "digits" / "manifest.json"
    settings = FineTuning(epochs=4, batch_size=64, learning_rate=3e-3, learning_rates={"big": 1e-9}, mixing=[0.0, 1.0])

    def tune(model: str, control: Path | None) -> CheckpointMetrics:
        checkpoint, merges = tmp_path / "checkpoint.pt", tmp_path / "merges.txt.gz"
        found = FineTuneJob(checkpoint, merges, model, manifest, control, settings, tmp_path / model).run()
        assert found is not None
        return found

    small, still = tune("small", manifest), tune("big", None)
    value = {row.dataset: row.value for row in small.metrics}
    assert value["fine_tune/digits"] > 0.3 and value["patched/digits"] == value["fine_tune/digits"]
    assert [mixture.share for mixture in small.mixtures or []] == [0.0, 1.0]
    # The control is the test split of the set itself: its accuracy is the same.
    assert all(mixture.control == mixture.test for mixture in small.mixtures or [])
    # A peak rate of its own, of next to nothing, leaves the model where it was.
    assert still.metrics[0].value == pytest.approx((small.mixtures or [])[0].test, abs=0.01)
    assert not list((tmp_path / "small").glob("step-*.pt"))


def test_a_set_without_training_split_is_refused(tmp_path: Path) -> None:
    from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set

    from ..evaluate.examples import random_images, write_set

    files = {"classnames.txt": "one\ntwo", "zeroshot_classification_templates.txt": "a {c}"}
    folder = write_set(tmp_path / "wds_x", random_images(2, (16, 16)), {"cls": ["0", "1"]}, files)
    index_evaluation_set(tmp_path / "eval-x", "x", folder)
    write_merges(tmp_path / "merges.txt.gz", train_merges(["one two"] * 3, 600))
    about = {"cell": "c", "state": "trained", "model_config": MODEL}
    about["tokenizer_sha256"] = sha256_file(tmp_path / "merges.txt.gz")
    save_checkpoint(tmp_path / "checkpoint.pt", build_model(MODEL).state_dict(), about)
    with pytest.raises(EvaluationError, match="has no train split"):
        FineTuneJob(
            tmp_path / "checkpoint.pt",
            tmp_path / "merges.txt.gz",
            "m",
            tmp_path / "eval-x" / "manifest.json",
            None,
            FineTuning(),
            tmp_path / "resume",
        ).run()


def test_workers_draw_the_same_batches_wherever_a_run_begins(tmp_path: Path) -> None:
    plain, drawn = run(tmp_path, **AUGMENTED), run(tmp_path, workers=2, **AUGMENTED)
    for step in (0, 4):
        plain.step = drawn.step = step
        first, second = plain._batches(), drawn._batches()
        # 40 images in batches of 16: the third of each epoch has 8.
        for expected, found in zip(first, second, strict=True):
            assert torch.equal(expected, found)


def test_images_are_streamed_where_they_are_too_many_to_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_digits(tmp_path, "digits")
    held = read_images(tmp_path, "test", Preprocess(16), 0)
    monkeypatch.setattr(finetune_images, "HELD_BYTES", 1000)
    streamed = read_images(tmp_path, "test", Preprocess(16), 0)
    assert isinstance(held, LabelledImages) and isinstance(streamed, StreamedImages)
    assert torch.equal(held.labels, streamed.labels)
    some = torch.tensor([7, 3, 200])
    for row in range(3):
        assert (held.rows(some).image(row) == streamed.rows(some).image(row)).all()
    settings = FineTuning(**FAST)
    model = Classifier(build_model(MODEL).visual, torch.randn(10, 16), 10.0, settings)  # type: ignore[arg-type]
    assert accuracy(model, held, CPU) == accuracy(model, streamed, CPU) == accuracy(model, streamed, CPU, workers=2)


def test_an_image_that_cannot_be_read_while_it_is_streamed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ..evaluate.examples import random_images, write_set

    monkeypatch.setattr(finetune_images, "HELD_BYTES", 1000)
    folder = write_set(tmp_path / "x", random_images(40, (16, 16)), {"cls": list("01" * 20)}, {})
    tar = folder / "test" / "0.tar"
    content = bytearray(tar.read_bytes())
    place = content.index(b"017.png") + 512
    content[place + 40 : place + 60] = bytes(20)
    tar.write_bytes(content)
    streamed = read_images(folder, "test", Preprocess(16), 0)
    settings = FineTuning(**FAST)
    tuning = FineTune(classifier(settings), Drawn(streamed, settings), 1e-3, StateFolder(tmp_path / "s"), CPU, 2)
    with pytest.raises(EvaluationError, match=r"0\.tar: 017: it cannot be decoded"):
        tuning.run()
    assert not multiprocessing.active_children()
