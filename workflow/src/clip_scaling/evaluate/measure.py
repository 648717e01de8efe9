"""Metrics of features: zero-shot classification, retrieval, and the held-out contrastive loss.

Names and definitions are clip-benchmark's; `contrastive_loss` is ours.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import EvaluationError
from ..models.encode import Encoder
from ..models.precision import tf32
from ..records.data import CLASSIFICATION, MULTILABEL, RETRIEVAL, EvaluationSetManifest
from ..records.evaluation import Measured
from .features import Features
from .ranks import average_precisions, best_ranks, target_ranks
from .uncertainty import mean_interval, recall_interval, wilson

CPU = torch.device("cpu")
RECALL_AT = (1, 5, 10)
Interval = tuple[float, float]


def measure(
    encoder: Encoder, manifest: EvaluationSetManifest, features: Features, loss_batch_size: int
) -> list[Measured]:
    """Measure every zero-shot metric of a set, on the encoder's device. EvaluationError: a class that has no name."""
    name, task, device = manifest.dataset, manifest.task, encoder.device
    if task == RETRIEVAL:
        with tf32(False):
            found = retrieval(name, features, device)
        return [*found, contrastive_loss(name, features, encoder.scale, loss_batch_size)]
    names = manifest.classes
    most = int(features.labels.max()) + 1 if task == CLASSIFICATION else features.labels.shape[1]
    if most > len(names):
        raise EvaluationError(
            f"labels of {most} classes, but {len(names)} class names", place=name, remedy="Prepare the set again."
        )
    classes = encoder.classes(names, manifest.templates)
    with tf32(False):
        if task == MULTILABEL:
            return [multilabel(name, features, classes, device)]
        return classification(name, features, classes, device)


def classification(name: str, features: Features, classes: Tensor, device: torch.device = CPU) -> list[Measured]:
    """Compute acc1, acc5 and mean per-class recall; of equal scores the first wins. classes: (classes, dim)."""
    target = features.labels
    ranks = target_ranks(features.images, classes, target, device, partial(_require_finite, name))
    n = len(target)
    rows = []
    for k in (1, 5) if len(classes) >= 5 else (1,):
        value = (ranks < k).double().mean().item()
        rows.append(_row(name, CLASSIFICATION, f"acc{k}", value, wilson(value, n), n))
    correct = (ranks == 0).numpy()
    sizes = np.bincount(target.numpy())
    shares = np.bincount(target.numpy(), weights=correct)[sizes > 0] / sizes[sizes > 0]
    interval = recall_interval(correct, target.numpy())
    return [*rows, _row(name, CLASSIFICATION, "mean_per_class_recall", float(shares.mean()), interval, n)]


def multilabel(name: str, features: Features, classes: Tensor, device: torch.device = CPU) -> Measured:
    """Average the precision over classes; the interval is a bootstrap over images (200 draws, seed 0)."""
    n, generator = len(features.labels), torch.Generator().manual_seed(0)
    counts = torch.zeros(200, n, dtype=torch.uint8)
    for draw in counts:
        draw += torch.randint(n, (n,), generator=generator).bincount(minlength=n)
    values, draws = average_precisions(
        features.images, classes, features.labels, counts, device, partial(_require_finite, name)
    )
    low, high = np.percentile(draws.mean(1).numpy(), [2.5, 97.5])
    return _row(name, MULTILABEL, "mean_average_precision", values.mean().item(), (float(low), float(high)), n)


def mean_of(name: str, metric: str, rows: list[Measured]) -> Measured:
    """Take the plain mean of one metric over sets; its interval assumes independent errors."""
    value = float(np.mean([row.value for row in rows]))
    below = above = 0.0
    n = 0
    for row in rows:
        assert row.ci_low is not None and row.ci_high is not None and row.n is not None, "measured here"
        below += (row.value - row.ci_low) ** 2
        above += (row.ci_high - row.value) ** 2
        n += row.n
    interval = value - math.sqrt(below) / len(rows), value + math.sqrt(above) / len(rows)
    return _row(name, "aggregate", metric, value, interval, n)


def probe(name: str, value: float, spread: float, draws: int, n: int) -> Measured:
    """Report a linear probe's accuracy; the interval adds the spread of draws to the test set's binomial error."""
    low, high = wilson(value, n)
    between = 1.959964 * spread / math.sqrt(draws)
    interval = max(0.0, value - math.hypot(value - low, between)), min(1.0, value + math.hypot(high - value, between))
    return _row(name, "linear_probe", "acc1", value, interval, n)


def retrieval(name: str, features: Features, device: torch.device = CPU) -> list[Measured]:
    """Compute recall@1, 5, 10 in both directions: the share of queries with a right answer among the first k.

    Of equal scores the first wins.
    """
    images, texts, owners = features.images, features.texts, features.owners
    check = partial(_require_finite, name)
    ranks = {
        "image": target_ranks(texts, images, owners, device, check),
        "text": best_ranks(images, texts, owners, device, check),
    }
    rows = []
    for k in RECALL_AT:
        for way, places in ranks.items():
            value, n = (places < k).double().mean().item(), len(places)
            rows.append(_row(name, RETRIEVAL, f"{way}_retrieval_recall@{k}", value, wilson(value, n), n))
    return rows


def contrastive_loss(name: str, features: Features, scale: float, batch_size: int) -> Measured:
    """Average InfoNCE over the set's (image, first caption) pairs in fixed batches, nats.

    scale: the model's inverse temperature. A last batch that is not full is left out: the loss depends on its size.
    """
    first = torch.searchsorted(features.owners, torch.arange(len(features.images)))
    image, text = features.images, features.texts[first]
    whole = len(image) // batch_size * batch_size
    if not whole:
        raise EvaluationError(
            f"{name}: {len(image)} pairs, fewer than evaluation.loss_batch_size {batch_size}. Lower it."
        )
    losses = []
    pair = torch.arange(batch_size)
    for start in range(0, whole, batch_size):
        logits = scale * image[start : start + batch_size] @ text[start : start + batch_size].T
        both = F.cross_entropy(logits, pair, reduction="none") + F.cross_entropy(logits.T, pair, reduction="none")
        losses.append(both / 2)
    values = torch.cat(losses)
    _require_finite(name, values)
    array = values.double().numpy()
    return _row(name, RETRIEVAL, "contrastive_loss", float(array.mean()), mean_interval(array), len(array))


def _row(name: str, task: str, metric: str, value: float, interval: Interval, n: int) -> Measured:
    low, high = interval
    return Measured(dataset=name, task=task, metric=metric, value=value, ci_low=low, ci_high=high, n=n, skipped=0)


def _require_finite(name: str, values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise EvaluationError(
            f"{name}: the model's outputs are not finite. Its training diverged: see the cell's curve.jsonl."
        )
