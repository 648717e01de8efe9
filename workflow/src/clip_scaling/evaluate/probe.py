"""Linear probes on cached features: a sweep of AdamW probes trained all at once, or logistic regression by L-BFGS.

Protocol of Cherti et al. 2022 (section 2.4, and their code): frozen features, one linear layer, cross-entropy, AdamW
under a cosine rate, batch 256, learning rates {0.1, 0.01, 0.001} x epochs {10, 20, 40}. They choose the best of the
nine on the test split; here it is chosen on a split carved from train, unless `choose_on: test` asks for theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.adamw import adamw

from ..errors import EvaluationError
from ..study.config.evaluation import LinearProbes

Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Setting:
    """One probe of a sweep."""

    learning_rate: float
    weight_decay: float
    epochs: int


@dataclass(frozen=True)
class Probe:
    """A trained probe. logits of (n, dim) features: features @ weight.T + bias."""

    setting: Setting | float
    weight: Tensor
    bias: Tensor

    def logits(self, features: Tensor) -> Tensor:
        """Compute (n, classes) logits."""
        return features @ self.weight.T + self.bias


def few_shot(labels: Labels, shots: int, seed: int) -> Labels:
    """Draw the indices of `shots` examples a class. EvaluationError where a class has fewer."""
    generator = np.random.default_rng(seed)
    chosen = []
    for number in np.unique(labels):
        members = np.flatnonzero(labels == number)
        if len(members) < shots:
            raise EvaluationError(f"class {number} has {len(members)} training examples, fewer than {shots} shots.")
        chosen.append(generator.choice(members, shots, replace=False))
    return np.sort(np.concatenate(chosen))


def carve(labels: Labels, share: float, seed: int) -> tuple[Labels, Labels]:
    """Split indices into (train, validation), `share` of each class to validation, one example at least to train."""
    generator = np.random.default_rng(seed)
    train, validation = [], []
    for number in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == number))
        held = min(round(share * len(members)), len(members) - 1)
        validation.append(members[:held])
        train.append(members[held:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def train_sweep(
    features: Tensor, labels: Tensor, classes: int, settings: Sequence[Setting], batch_size: int = 256, seed: int = 0
) -> list[Probe]:
    """Train every probe of a sweep. Neighbours of equal epochs are trained side by side: they see the same batches.

    features: (n, dim) fp32. labels: (n,) int64 below `classes`. The same as one torch.nn.Linear at a time under
    torch.optim.AdamW with open_clip's cosine rate.
    """
    probes = []
    for _, alike in groupby(settings, key=lambda setting: setting.epochs):
        probes += _train(features, labels, classes, list(alike), batch_size, seed)
    return probes


class _Sweep:
    """Linear layers side by side, each under torch's AdamW with a rate and a decay of its own.

    weight: (probes, classes, dim). bias: (probes, 1, classes). All start as one torch.nn.Linear.
    """

    def __init__(self, settings: Sequence[Setting], classes: int, width: int, generator: torch.Generator) -> None:
        bound, split = 1 / math.sqrt(width), classes * width
        start = [torch.rand(shape, generator=generator).flatten() for shape in ((classes, width), (1, classes))]
        self.settings = settings
        # One tensor a probe, so that a step of AdamW is one call.
        self.parameters = ((torch.cat(start) * 2 - 1) * bound).repeat(len(settings), 1)
        self.weight = self.parameters[:, :split].unflatten(1, (classes, width))
        self.bias = self.parameters[:, split:].unsqueeze(1)
        self.mean, self.square = torch.zeros_like(self.parameters), torch.zeros_like(self.parameters)
        self.steps = torch.zeros(len(settings))

    def step(self, features: Tensor, labels: Tensor, share: float) -> None:
        """Take one step of all probes on a batch. share: of each probe's peak rate."""
        x = features.expand(len(self.settings), -1, -1)
        slope = torch.baddbmm(self.bias, x, self.weight.transpose(1, 2)).softmax(dim=2)
        slope[:, torch.arange(len(labels)), labels] -= 1
        slope /= len(labels)  # the gradient of the mean cross-entropy by the logits
        gradient = torch.cat([(slope.transpose(1, 2) @ x).flatten(1), slope.sum(dim=1)], dim=1)
        state = self.parameters, gradient, self.mean, self.square, self.steps
        for setting, *rows in zip(self.settings, *state, strict=True):
            p, g, mean, square, step = ([row] for row in rows)
            # The function behind torch.optim.AdamW, whose class would import torch._dynamo: a second of every process.
            adamw(
                p, g, mean, square, [], step, fused=True, amsgrad=False, beta1=0.9, beta2=0.999, eps=1e-8,
                lr=share * setting.learning_rate, weight_decay=setting.weight_decay, maximize=False,
            )  # fmt: skip


def _train(
    features: Tensor, labels: Tensor, classes: int, settings: Sequence[Setting], batch_size: int, seed: int
) -> list[Probe]:
    """Train probes of equal epochs on the same batches, under open_clip's cosine rate."""
    generator = torch.Generator().manual_seed(seed)
    sweep = _Sweep(settings, classes, features.shape[1], generator)
    batches = -(-len(features) // batch_size)
    total = settings[0].epochs * batches
    for step in range(total):
        if step % batches == 0:
            order = torch.randperm(len(features), generator=generator)
        rows = order[step % batches * batch_size :][:batch_size]
        sweep.step(features[rows], labels[rows], 0.5 * (1 + math.cos(math.pi * step / total)))
    return [Probe(*of) for of in zip(settings, sweep.weight, sweep.bias[:, 0], strict=True)]


def logistic_regression(
    features: Tensor, labels: Tensor, classes: int, penalties: Sequence[float], iterations: int = 100
) -> list[Probe]:
    """Fit one probe a penalty: mean cross-entropy + penalty / 2 x |weight|^2, to its minimum by L-BFGS.

    Each starts where the one before ended, from the strongest penalty on.
    """
    weight = torch.zeros(classes, features.shape[1], requires_grad=True)
    bias = torch.zeros(classes, requires_grad=True)
    found = {}
    for penalty in sorted(penalties, reverse=True):
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

        def objective(optimizer: torch.optim.LBFGS = optimizer, penalty: float = penalty) -> Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(features @ weight.T + bias, labels) + penalty / 2 * weight.square().sum()
            loss.backward()
            return loss

        optimizer.step(objective)
        found[penalty] = Probe(penalty, weight.detach().clone(), bias.detach().clone())
    return [found[penalty] for penalty in penalties]


def best(probes: Sequence[Probe], features: Tensor, labels: Tensor) -> Probe:
    """Choose the probe with the highest accuracy; of equals the first."""
    accuracies = [(probe.logits(features).argmax(dim=1) == labels).double().mean().item() for probe in probes]
    return probes[int(np.argmax(accuracies))]


def probe_accuracy(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: int,
    shots: int | str,
    settings: LinearProbes,
) -> tuple[float, float, list[Setting | float]]:
    """Measure the test accuracy of the chosen probe: (mean over draws, standard deviation over draws, chosen settings).

    train, test: (n, dim) features and (n,) labels. shots: examples a class, drawn `settings.draws` times, or "full".
    EvaluationError where a class of train is empty or smaller than the shots.
    """
    features, labels = train
    empty = sorted(set(range(classes)) - set(labels.tolist()))
    if empty:
        raise EvaluationError(f"classes {empty} have no training example, so no probe can know them.")
    accuracies, chosen = [], []
    for draw in range(1 if shots == "full" else settings.draws):
        seed = settings.seed + draw
        rows = np.arange(len(labels)) if shots == "full" else few_shot(labels.numpy(), int(shots), seed)
        kept, held = carve(labels.numpy()[rows], settings.validation_share, seed)
        if settings.choose_on == "test" or not len(held):
            kept, validation = np.arange(len(rows)), test
        else:
            validation = features[rows[held]], labels[rows[held]]
        probes = _sweep(features[rows[kept]], labels[rows[kept]], classes, settings, seed)
        setting = best(probes, *validation).setting
        if settings.choose_on == "validation" and len(held):
            # The chosen setting once more, on all that may be learned from.
            [probe] = _sweep(features[rows], labels[rows], classes, settings, seed, only=setting)
        else:
            probe = next(probe for probe in probes if probe.setting == setting)
        accuracies.append((probe.logits(test[0]).argmax(dim=1) == test[1]).double().mean().item())
        chosen.append(setting)
    spread = float(np.std(accuracies, ddof=1)) if len(accuracies) > 1 else 0.0
    return float(np.mean(accuracies)), spread, chosen


def _sweep(
    features: Tensor,
    labels: Tensor,
    classes: int,
    settings: LinearProbes,
    seed: int,
    only: Setting | float | None = None,
) -> list[Probe]:
    """Train all probes of the settings, or the chosen one."""
    if settings.solver == "lbfgs":
        penalties = settings.weight_decays if only is None else [float(only)]  # type: ignore[arg-type]
        return logistic_regression(features, labels, classes, penalties)
    every = product(settings.epochs, settings.learning_rates, settings.weight_decays)
    sweep = [only] if isinstance(only, Setting) else [Setting(rate, decay, epochs) for epochs, rate, decay in every]
    return train_sweep(features, labels, classes, sweep, settings.batch_size, seed)
