"""Metrics of features: zero-shot classification, retrieval, and the held-out contrastive loss.

Names and definitions are clip-benchmark's; `contrastive_loss` is ours.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import EvaluationError
from ..models.encode import Encoder
from ..records.data import CLASSIFICATION, MULTILABEL, RETRIEVAL, EvaluationSetManifest
from ..records.evaluation import Measured
from .features import Features
from .uncertainty import mean_interval, recall_interval, wilson

RECALL_AT = (1, 5, 10)
Interval = tuple[float, float]


def measure(
    encoder: Encoder, manifest: EvaluationSetManifest, features: Features, loss_batch_size: int
) -> list[Measured]:
    """Measure every zero-shot metric of a set. EvaluationError: a class that has no name."""
    name, task = manifest.dataset, manifest.task
    if task == RETRIEVAL:
        return [*retrieval(name, features), contrastive_loss(name, features, encoder.scale, loss_batch_size)]
    names = manifest.classes
    most = int(features.labels.max()) + 1 if task == CLASSIFICATION else features.labels.shape[1]
    if most > len(names):
        raise EvaluationError(
            f"labels of {most} classes, but {len(names)} class names", place=name, remedy="Prepare the set again."
        )
    classes = encoder.classes(names, manifest.templates)
    if task == MULTILABEL:
        return [multilabel(name, features, classes)]
    return classification(name, features, classes)


def classification(name: str, features: Features, classes: Tensor) -> list[Measured]:
    """Compute acc1, acc5 and mean per-class recall; of equal scores the first wins. classes: (classes, dim)."""
    logits = features.images @ classes.T
    _require_finite(name, logits)
    target = features.labels
    n = len(target)
    ranked = logits.argsort(dim=1, descending=True, stable=True)
    rows = []
    for k in (1, 5) if len(classes) >= 5 else (1,):
        value = (ranked[:, :k] == target[:, None]).any(dim=1).double().mean().item()
        rows.append(_row(name, CLASSIFICATION, f"acc{k}", value, wilson(value, n), n))
    correct = (ranked[:, 0] == target).numpy()
    sizes = np.bincount(target.numpy())
    shares = np.bincount(target.numpy(), weights=correct)[sizes > 0] / sizes[sizes > 0]
    interval = recall_interval(correct, target.numpy())
    return [*rows, _row(name, CLASSIFICATION, "mean_per_class_recall", float(shares.mean()), interval, n)]


def multilabel(name: str, features: Features, classes: Tensor) -> Measured:
    """Average the precision over classes; the interval is a bootstrap over images (200 draws, seed 0)."""
    logits = features.images @ classes.T
    _require_finite(name, logits)
    target = features.labels
    value = _average_precision(logits, target)
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(200):
        rows = torch.randint(len(target), (len(target),), generator=generator)
        draws.append(_average_precision(logits[rows], target[rows]))
    low, high = np.percentile(draws, [2.5, 97.5])
    return _row(name, MULTILABEL, "mean_average_precision", value, (float(low), float(high)), len(target))


def _average_precision(logits: Tensor, target: Tensor) -> float:
    """Mean over classes of the mean precision at each positive image; a class without any counts as 0."""
    truth = target.gather(0, logits.argsort(dim=0, descending=True)).double()
    ranks = torch.arange(1, len(truth) + 1, dtype=torch.double)[:, None]
    precision = truth.cumsum(0) / ranks
    return ((precision * truth).sum(0) / truth.sum(0).clamp(min=1)).mean().item()


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


def retrieval(name: str, features: Features) -> list[Measured]:
    """Compute recall@1, 5, 10 in both directions: the share of queries with a right answer among the first k."""
    scores = features.texts @ features.images.T
    _require_finite(name, scores)
    texts, images = scores.shape
    owners = features.owners
    rows = []
    for k in RECALL_AT:
        found = (scores.topk(min(k, images), dim=1).indices == owners[:, None]).any(dim=1).double().mean().item()
        own = owners[scores.T.topk(min(k, texts), dim=1).indices] == torch.arange(images)[:, None]
        for way, value, n in (("image", found, texts), ("text", own.any(dim=1).double().mean().item(), images)):
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
