"""Linear probes on cached features: a sweep of AdamW probes trained all at once, or logistic regression by L-BFGS.

Protocol of Cherti et al. 2022 (section 2.4, and their code): frozen features, one linear layer, cross-entropy, AdamW
under a cosine rate, batch 256, learning rates {0.1, 0.01, 0.001} x epochs {10, 20, 40}. They choose the best of the
nine on the test split; here it is chosen on a split carved from train, unless `choose_on: test` asks for theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

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
        """(n, classes)."""
        return features @ self.weight.T + self.bias


def few_shot(labels: Labels, shots: int, seed: int) -> Labels:
    """Indices of `shots` examples a class, drawn at random. EvaluationError where a class has fewer."""
    generator = np.random.default_rng(seed)
    chosen = []
    for number in np.unique(labels):
        members = np.flatnonzero(labels == number)
        if len(members) < shots:
            raise EvaluationError(f"class {number} has {len(members)} training examples, fewer than {shots} shots.")
        chosen.append(generator.choice(members, shots, replace=False))
    return np.sort(np.concatenate(chosen))


def carve(labels: Labels, share: float, seed: int) -> tuple[Labels, Labels]:
    """(train, validation) indices, `share` of each class to validation, at least one example of a class in train."""
    generator = np.random.default_rng(seed)
    train, validation = [], []
    for number in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == number))
        held = min(round(share * len(members)), len(members) - 1)
        validation.append(members[:held])
        train.append(members[held:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(validation))


def train_sweep(
    features: Tensor,
    labels: Tensor,
    classes: int,
    learning_rates: Sequence[float],
    weight_decays: Sequence[float],
    epochs: Sequence[int],
    batch_size: int = 256,
    seed: int = 0,
) -> list[Probe]:
    """Every probe of the sweep. Those of equal epochs are trained side by side: they see the same batches.

    features: (n, dim) fp32. labels: (n,) int64 below `classes`. The same as one torch.nn.Linear at a time under
    torch.optim.AdamW with open_clip's cosine rate.
    """
    probes = []
    rates, decays = zip(*product(learning_rates, weight_decays), strict=True)
    rate, decay = (torch.tensor(values, dtype=torch.float32).reshape(-1, 1, 1) for values in (rates, decays))
    for count in epochs:
        weight, bias = _train(features, labels, classes, rate, decay, count, batch_size, seed)
        settings = [Setting(r, d, count) for r, d in zip(rates, decays, strict=True)]
        probes += [Probe(setting, w, b[0]) for setting, w, b in zip(settings, weight, bias, strict=True)]
    return probes


def _train(
    features: Tensor, labels: Tensor, classes: int, rate: Tensor, decay: Tensor, epochs: int, batch_size: int, seed: int
) -> tuple[Tensor, Tensor]:
    """(probes, classes, dim) weights and (probes, 1, classes) biases after AdamW with a rate and a decay each."""
    generator = torch.Generator().manual_seed(seed)
    width, probes = features.shape[1], len(rate)
    # torch.nn.Linear's own start, the same for all.
    bound = 1 / math.sqrt(width)
    weight = (torch.rand(classes, width, generator=generator) * 2 - 1).mul_(bound).repeat(probes, 1, 1)
    bias = (torch.rand(1, classes, generator=generator) * 2 - 1).mul_(bound).repeat(probes, 1, 1)
    parameters = [weight, bias]
    moments = [[torch.zeros_like(p), torch.zeros_like(p)] for p in parameters]
    batches = -(-len(features) // batch_size)
    for step in range(epochs * batches):
        if step % batches == 0:
            order = torch.randperm(len(features), generator=generator)
        rows = order[step % batches * batch_size :][:batch_size]
        x, y = features[rows], labels[rows]
        share = torch.baddbmm(bias, x.expand(probes, -1, -1), weight.transpose(1, 2)).softmax(dim=2)
        share[:, torch.arange(len(y)), y] -= 1
        share /= len(y)  # the gradient of the mean cross-entropy by the logits
        gradients = [share.transpose(1, 2) @ x, share.sum(dim=1, keepdim=True)]
        now = rate * (0.5 * (1 + math.cos(math.pi * step / (epochs * batches))))
        for p, gradient, (first, second) in zip(parameters, gradients, moments, strict=True):
            p.mul_(1 - now * decay)
            first.lerp_(gradient, 0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            root = (second / (1 - 0.999 ** (step + 1))).sqrt_().add_(1e-8)
            p.sub_(now * first / (1 - 0.9 ** (step + 1)) / root)
    return weight, bias


def logistic_regression(
    features: Tensor, labels: Tensor, classes: int, penalties: Sequence[float], iterations: int = 100
) -> list[Probe]:
    """One probe a penalty: mean cross-entropy + penalty / 2 x |weight|^2, to its minimum by L-BFGS.

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
    """The probe with the highest accuracy; of equals the first."""
    accuracies = [(probe.logits(features).argmax(dim=1) == labels).double().mean().item() for probe in probes]
    return probes[int(np.argmax(accuracies))]


def probe_accuracy(
    train: tuple[Tensor, Tensor],
    test: tuple[Tensor, Tensor],
    classes: int,
    shots: int | str,
    settings: LinearProbes,
) -> tuple[float, float, list[Setting | float]]:
    """Test accuracy of the chosen probe: (mean over draws, standard deviation over draws, what was chosen).

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
    if settings.solver == "lbfgs":
        penalties = settings.weight_decays if only is None else [float(only)]  # type: ignore[arg-type]
        return logistic_regression(features, labels, classes, penalties)
    rates, decays, epochs = settings.learning_rates, settings.weight_decays, settings.epochs
    if isinstance(only, Setting):
        rates, decays, epochs = [only.learning_rate], [only.weight_decay], [only.epochs]
    return train_sweep(features, labels, classes, rates, decays, epochs, settings.batch_size, seed)
