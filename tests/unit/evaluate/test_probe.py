"""Linear probes: the sweep is many single probes, and those are torch's and clip-benchmark's."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from clip_scaling.errors import EvaluationError
from clip_scaling.evaluate import probe_training
from clip_scaling.evaluate.pieces import Examples
from clip_scaling.evaluate.probe import best, carve, few_shot, probe_accuracy
from clip_scaling.evaluate.probe_training import Setting, accuracies, logistic_regression, train_sweep
from clip_scaling.study.config.evaluation import LinearProbes

from .test_ranks import Largest


@pytest.fixture
def blobs() -> tuple[Tensor, Tensor]:
    """600 points of three classes around corners of a space of 8 dimensions, as unit vectors."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(600) % 3
    features = torch.randn(600, 8, generator=generator) + 2 * torch.eye(8)[labels]
    return nn.functional.normalize(features, dim=1), labels


def test_every_probe_of_the_sweep_is_a_layer_under_torchs_adamw(blobs: tuple[Tensor, Tensor]) -> None:
    features, labels = blobs
    settings = [Setting(0.1, 0.5, 2), Setting(0.1, 0.0, 4), Setting(0.01, 0.0, 4), Setting(0.01, 0.5, 4)]
    for setting, probe in zip(settings, train_sweep(Examples(features, labels), 3, settings, 100, seed=3), strict=True):
        generator = torch.Generator().manual_seed(3)
        layer = nn.Linear(8, 3)
        with torch.no_grad():
            layer.weight.copy_((torch.rand(3, 8, generator=generator) * 2 - 1) / math.sqrt(8))
            layer.bias.copy_((torch.rand(1, 3, generator=generator) * 2 - 1)[0] / math.sqrt(8))
        rate, steps = setting.learning_rate, 6 * setting.epochs
        optimizer = torch.optim.AdamW(layer.parameters(), lr=rate, weight_decay=setting.weight_decay)
        for step in range(steps):
            if step % 6 == 0:
                order = torch.randperm(600, generator=generator)
            rows = order[step % 6 * 100 :][:100]
            optimizer.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
            optimizer.zero_grad()
            nn.functional.cross_entropy(layer(features[rows]), labels[rows]).backward()
            optimizer.step()
        assert probe.setting == setting
        assert torch.allclose(probe.weight, layer.weight, atol=1e-5)
        assert torch.allclose(probe.bias, layer.bias, atol=1e-5)


def test_probes_do_not_import_what_torchs_optimizers_do() -> None:
    """torch._dynamo takes a second of CPU, which each short job of an evaluation would pay."""
    code = "import torch, clip_scaling.models.fast_import; from clip_scaling.evaluate.probe import *; "
    code += "train_sweep(Examples(torch.eye(4), torch.arange(4)), 4, [Setting(0.1, 0.0, 1)]); import sys; "
    code += "sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_accuracy_is_clip_benchmarks_within_the_spread_of_seeds(
    blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    from clip_benchmark.metrics import linear_probe as theirs

    # clip-benchmark trains probes on CUDA only; on a CPU its .cuda() is made to do nothing.
    monkeypatch.setattr(nn.Module, "cuda", lambda self: self)
    monkeypatch.setattr(Tensor, "cuda", lambda self: self)
    features, labels = blobs
    loader = torch.utils.data.DataLoader(theirs.FeatureDataset(features[:400], labels[:400]), 64, shuffle=True)

    def accuracy(logits: Tensor) -> float:
        return (logits.argmax(dim=1) == labels[400:]).double().mean().item()

    first = Examples(features, labels).choose(torch.arange(400))
    peer, ours = [], []
    for seed in range(5):
        layer = theirs.train(loader, 8, 3, 0.0, 0.1, 10, False, "cpu", seed)
        peer.append(accuracy(layer(features[400:])))
        [probe] = train_sweep(first, 3, [Setting(0.1, 0.0, 10)], 64, seed)
        ours.append(accuracy(probe.logits(features[400:])))
    assert abs(np.mean(peer) - np.mean(ours)) <= 3 * max(np.std(peer), np.std(ours), 0.005)


def test_logistic_regression_is_scikit_learns(blobs: tuple[Tensor, Tensor]) -> None:
    from sklearn.linear_model import LogisticRegression

    features, labels = blobs
    strong, weak = logistic_regression(Examples(features, labels), 3, [1e-2, 1e-3])
    for probe, penalty in ((strong, 1e-2), (weak, 1e-3)):
        # scikit-learn sums the losses and halves the norm: C = 1 / (n x penalty).
        peer = LogisticRegression(C=1 / (600 * penalty), max_iter=1000, tol=1e-8).fit(features.numpy(), labels.numpy())
        expected = peer.predict_proba(features.numpy())
        assert np.allclose(probe.logits(features).softmax(dim=1).numpy(), expected, atol=2e-3)


def test_the_best_probe_is_chosen_by_accuracy(blobs: tuple[Tensor, Tensor]) -> None:
    features, labels = blobs
    examples = Examples(features, labels)
    probes = train_sweep(examples, 3, [Setting(1e-6, 0.0, 5), Setting(0.1, 0.0, 5)])
    chosen = best(probes, examples)
    assert chosen is probes[1]


def test_few_shots_are_so_many_of_each_class_and_reproducible() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 30])
    chosen = few_shot(labels, 5, seed=1)
    assert np.bincount(labels[chosen]).tolist() == [5, 5, 5]
    assert np.array_equal(chosen, few_shot(labels, 5, seed=1))
    assert not np.array_equal(chosen, few_shot(labels, 5, seed=2))
    with pytest.raises(EvaluationError, match="class 0 has 10 training examples, fewer than 11 shots"):
        few_shot(labels, 11, seed=0)


def test_a_validation_split_is_carved_from_every_class() -> None:
    labels = np.repeat([0, 1, 2], [10, 20, 1])
    train, validation = carve(labels, 0.2, seed=0)
    assert np.bincount(labels[validation], minlength=3).tolist() == [2, 4, 0]
    assert sorted([*train, *validation]) == list(range(31))


def test_pieces_change_no_probe(blobs: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs
    examples, sweep = Examples(features, labels), [Setting(0.1, 0.0, 2), Setting(0.1, 0.1, 3)]
    whole = train_sweep(examples, 3, sweep, 64), logistic_regression(examples, 3, [1e-2])
    shares = accuracies(whole[0], examples)
    assert shares == [(probe.logits(features).argmax(1) == labels).double().mean().item() for probe in whole[0]]
    monkeypatch.setattr(probe_training, "PIECE_BATCHES", 2)
    monkeypatch.setattr(probe_training, "BLOCK", 300)  # logits of 100 examples
    pieces = train_sweep(examples, 3, sweep, 64), logistic_regression(examples, 3, [1e-2])
    for first, second in zip(whole[0], pieces[0], strict=True):
        assert torch.equal(first.weight, second.weight)
    expected, found = (probes[0].logits(features).softmax(dim=1) for probes in (whole[1], pieces[1]))
    assert torch.allclose(found, expected, atol=2e-3)  # within where L-BFGS stops
    assert accuracies(pieces[0], examples) == shares


def test_no_tensor_grows_with_examples_times_classes_or_copies_the_features(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_training, "PIECE_BATCHES", 2)
    monkeypatch.setattr(probe_training, "BLOCK", 5000)
    generator = torch.Generator().manual_seed(0)
    examples = Examples(torch.randn(4000, 8, generator=generator), torch.arange(4000) % 50)
    few = {"learning_rates": [0.1], "epochs": [1], "batch_size": 20}
    for settings in (LinearProbes(**few), LinearProbes(solver="lbfgs", weight_decays=[0.1])):
        with Largest() as made:
            probe_accuracy(examples, examples, 50, "full", settings)
        # 32,000 features and 200,000 logits in all; an order of the examples is 4,000 numbers.
        assert made.numbers <= 5000


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0.0, 0.25], ids=["in pieces", "at once"])
def test_probes_of_a_gpu_are_those_of_the_cpu(
    blobs: tuple[Tensor, Tensor], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from clip_scaling.evaluate import pieces

    monkeypatch.setattr(pieces, "RESIDENT_SHARE", share)
    examples = Examples(*blobs)
    for settings in (LinearProbes(epochs=[5, 10]), LinearProbes(solver="lbfgs", weight_decays=[1e-3])):
        cpu, gpu = (
            probe_accuracy(examples.on(device), examples.on(device), 3, 20, settings)[0]
            for device in (torch.device("cpu"), torch.device("cuda"))
        )
        assert gpu == pytest.approx(cpu, abs=0.01)
