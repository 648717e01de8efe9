"""Training of linear probes: a sweep of AdamW probes all at once, or logistic regression by L-BFGS, on any device."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.adamw import adamw

from .pieces import Examples

PIECE_BATCHES = 64
"""Batches of a sweep that are brought to the device at a time."""
BLOCK = 1 << 24
"""Logits that are in memory at a time where all examples are looked at."""


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


class _Sweep:
    """Linear layers side by side, each under torch's AdamW with a rate and a decay of its own.

    settings: the longest first. weight: (probes, classes, dim). bias: (probes, 1, classes). All start as one
    torch.nn.Linear.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        classes: int,
        width: int,
        generator: torch.Generator,
        device: torch.device,
    ) -> None:
        bound, split = 1 / math.sqrt(width), classes * width
        start = [torch.rand(shape, generator=generator).flatten() for shape in ((classes, width), (1, classes))]
        self.settings = settings
        # One tensor a probe, so that a step of AdamW is one call.
        self.parameters = ((torch.cat(start) * 2 - 1) * bound).to(device).repeat(len(settings), 1)
        self.weight = self.parameters[:, :split].unflatten(1, (classes, width))
        self.bias = self.parameters[:, split:].unsqueeze(1)
        self.mean, self.square = torch.zeros_like(self.parameters), torch.zeros_like(self.parameters)
        self.steps = torch.zeros(len(settings), device=device)

    def step(self, features: Tensor, labels: Tensor, number: int, batches: int) -> None:
        """Take step `number` of all probes whose epochs, of so many batches, are not over."""
        settings = [setting for setting in self.settings if number < setting.epochs * batches]
        count = len(settings)
        x = features.expand(count, -1, -1)
        slope = torch.baddbmm(self.bias[:count], x, self.weight[:count].transpose(1, 2)).softmax(dim=2)
        slope[:, torch.arange(len(labels), device=labels.device), labels] -= 1
        slope /= len(labels)  # the gradient of the mean cross-entropy by the logits
        gradient = torch.cat([(slope.transpose(1, 2) @ x).flatten(1), slope.sum(dim=1)], dim=1)
        state = (part[:count] for part in (self.parameters, gradient, self.mean, self.square, self.steps))
        for setting, *rows in zip(settings, *state, strict=True):
            share = 0.5 * (1 + math.cos(math.pi * number / (setting.epochs * batches)))
            p, g, mean, square, step = ([row] for row in rows)
            # The function behind torch.optim.AdamW, whose class would import torch._dynamo: a second of every process.
            adamw(
                p, g, mean, square, [], step, fused=True, amsgrad=False, beta1=0.9, beta2=0.999, eps=1e-8,
                lr=share * setting.learning_rate, weight_decay=setting.weight_decay, maximize=False,
            )  # fmt: skip


def train_sweep(
    examples: Examples, classes: int, settings: Sequence[Setting], batch_size: int = 256, seed: int = 0
) -> list[Probe]:
    """Train every probe of a sweep, all side by side on the same batches, each until its epochs are over.

    The same as one torch.nn.Linear at a time under torch.optim.AdamW with open_clip's cosine rate.
    """
    longest_first = sorted(range(len(settings)), key=lambda number: -settings[number].epochs)
    generator = torch.Generator().manual_seed(seed)
    ordered, width = [settings[number] for number in longest_first], examples.features.shape[1]
    sweep = _Sweep(ordered, classes, width, generator, examples.device)
    batches, number = -(-len(examples) // batch_size), 0
    for _ in range(ordered[0].epochs):
        order = torch.randperm(len(examples), generator=generator)
        for features, labels in examples.shuffled(order, PIECE_BATCHES * batch_size):
            for batch in zip(features.split(batch_size), labels.split(batch_size), strict=True):
                sweep.step(*batch, number, batches)
                number += 1
    probes = [Probe(*of) for of in zip(ordered, sweep.weight, sweep.bias[:, 0], strict=True)]
    return [probes[longest_first.index(number)] for number in range(len(settings))]


def logistic_regression(
    examples: Examples, classes: int, penalties: Sequence[float], iterations: int = 100
) -> list[Probe]:
    """Fit one probe a penalty: mean cross-entropy + penalty / 2 x |weight|^2, to its minimum by L-BFGS.

    Each starts where the one before ended, from the strongest penalty on.
    """
    device, size = examples.device, max(1, BLOCK // classes)
    weight = torch.zeros(classes, examples.features.shape[1], requires_grad=True, device=device)
    bias = torch.zeros(classes, requires_grad=True, device=device)
    found = {}
    for penalty in sorted(penalties, reverse=True):
        optimizer = torch.optim.LBFGS([weight, bias], max_iter=iterations, line_search_fn="strong_wolfe")

        def objective(optimizer: torch.optim.LBFGS = optimizer, penalty: float = penalty) -> Tensor:
            optimizer.zero_grad()
            total = penalty / 2 * weight.square().sum()
            total.backward()
            total = total.detach()
            for features, labels in examples.in_order(size):
                loss = F.cross_entropy(features @ weight.T + bias, labels, reduction="sum") / len(examples)
                loss.backward()
                total += loss.detach()
            return total

        optimizer.step(objective)
        found[penalty] = Probe(penalty, weight.detach().clone(), bias.detach().clone())
    return [found[penalty] for penalty in penalties]


@torch.no_grad()
def accuracies(probes: Sequence[Probe], examples: Examples) -> list[float]:
    """Measure the top-1 accuracy of each probe."""
    right = torch.zeros(len(probes), dtype=torch.long, device=examples.device)
    for features, labels in examples.in_order(max(1, BLOCK // len(probes[0].bias))):
        right += torch.stack([(probe.logits(features).argmax(dim=1) == labels).sum() for probe in probes])
    return (right.double() / len(examples)).tolist()
