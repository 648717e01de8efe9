"""What is measured of features: zero-shot classification, retrieval, and the held-out contrastive loss.

Names and definitions are clip-benchmark's; `contrastive_loss` is ours.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import EvaluationError
from .encode import Features
from .intervals import mean_interval, recall_interval, wilson

RECALL_AT = (1, 5, 10)
CLASSIFICATION, RETRIEVAL = "zeroshot_classification", "zeroshot_retrieval"


@dataclass(frozen=True)
class Measured:
    """One number of an evaluation with its 95 % interval over n images, captions or pairs."""

    dataset: str
    task: str
    metric: str
    value: float
    ci_low: float
    ci_high: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


def classification(name: str, features: Features, classes: Tensor) -> list[Measured]:
    """acc1, acc5 and mean per-class recall. classes: (classes, dim) unit vectors. At equal scores the first wins."""
    logits = features.images @ classes.T
    _require_finite(name, logits)
    target = features.labels
    n = len(target)
    ranked = logits.argsort(dim=1, descending=True, stable=True)
    rows = []
    for k in (1, 5) if len(classes) >= 5 else (1,):
        value = (ranked[:, :k] == target[:, None]).any(dim=1).double().mean().item()
        rows.append(Measured(name, CLASSIFICATION, f"acc{k}", value, *wilson(value, n), n))
    correct = (ranked[:, 0] == target).numpy()
    sizes = np.bincount(target.numpy())
    shares = np.bincount(target.numpy(), weights=correct)[sizes > 0] / sizes[sizes > 0]
    interval = recall_interval(correct, target.numpy())
    return [*rows, Measured(name, CLASSIFICATION, "mean_per_class_recall", float(shares.mean()), *interval, n)]


def retrieval(name: str, features: Features) -> list[Measured]:
    """Recall@1, 5, 10 in both directions: the share of queries with a right answer among the first k."""
    scores = features.texts @ features.images.T
    _require_finite(name, scores)
    texts, images = scores.shape
    owners = features.owners
    rows = []
    for k in RECALL_AT:
        found = (scores.topk(min(k, images), dim=1).indices == owners[:, None]).any(dim=1).double().mean().item()
        own = owners[scores.T.topk(min(k, texts), dim=1).indices] == torch.arange(images)[:, None]
        for way, value, n in (("image", found, texts), ("text", own.any(dim=1).double().mean().item(), images)):
            rows.append(Measured(name, RETRIEVAL, f"{way}_retrieval_recall@{k}", value, *wilson(value, n), n))
    return rows


def contrastive_loss(name: str, features: Features, scale: float, batch_size: int) -> Measured:
    """Mean InfoNCE over the set's (image, first caption) pairs in fixed batches, nats.

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
    return Measured(name, RETRIEVAL, "contrastive_loss", float(array.mean()), *mean_interval(array), len(array))


def _require_finite(name: str, values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise EvaluationError(
            f"{name}: the model's outputs are not finite. Its training diverged: see the cell's curve.jsonl."
        )
