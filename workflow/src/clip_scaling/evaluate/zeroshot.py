"""Zero-shot classification and retrieval by clip-benchmark, and the held-out contrastive loss."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from clip_benchmark.datasets.builder import build_dataset
from clip_benchmark.metrics import zeroshot_classification, zeroshot_retrieval
from open_clip.model import CLIP, CustomTextCLIP
from sklearn.metrics import balanced_accuracy_score
from torch import Tensor

from ..errors import EvaluationError
from .intervals import mean_interval, recall_interval, wilson

Tokenizer = Callable[[str | list[str]], Tensor]
RECALL_AT = (1, 5, 10)


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


def open_set(folder: Path, task: str, transform: Callable[[Any], Tensor], batch_size: int) -> tuple[Any, Iterable[Any]]:
    """A set in clip-benchmark's webdataset layout: (dataset with classes and templates, batches)."""
    with warnings.catch_warnings():  # clip-benchmark leaves webdataset's shuffle unset, which is what a test set wants
        warnings.filterwarnings("ignore", message=r"WebDataset\(shardshuffle")
        dataset = build_dataset(f"wds/{folder.name}", root=str(folder), transform=transform, split="test", task=task)
    return dataset, torch.utils.data.DataLoader(dataset.batched(batch_size), batch_size=None, num_workers=0)


def classification(
    name: str, model: CLIP | CustomTextCLIP, tokenizer: Tokenizer, dataset: Any, batches: Iterable[Any], device: str
) -> list[Measured]:
    """acc1, acc5 and mean per-class recall, fp32, as clip-benchmark computes them."""
    weights = zeroshot_classification.zero_shot_classifier(
        model, tokenizer, dataset.classes, dataset.templates, device, amp=False
    )
    logits, target = zeroshot_classification.run_classification(model, weights, batches, device, amp=False)
    _require_finite(name, logits)
    n = len(target)
    top = [1, 5] if len(dataset.classes) >= 5 else [1]
    task = "zeroshot_classification"
    rows = []
    for k, value in zip(top, zeroshot_classification.accuracy(logits, target, topk=top), strict=True):
        rows.append(Measured(name, task, f"acc{k}", value, *wilson(value, n), n))
    predicted = logits.argmax(dim=1)
    recall = float(balanced_accuracy_score(target, predicted))
    interval = recall_interval((predicted == target).numpy(), target.numpy())
    return [*rows, Measured(name, task, "mean_per_class_recall", recall, *interval, n)]


def retrieval(
    name: str, model: CLIP | CustomTextCLIP, tokenizer: Tokenizer, batches: Iterable[Any], device: str
) -> list[Measured]:
    """Recall@1, 5, 10 in both directions, fp32, as clip-benchmark computes them."""
    counted = _Counted(batches)
    metrics = zeroshot_retrieval.evaluate(model, counted, tokenizer, device, amp=False, recall_k_list=list(RECALL_AT))
    trials = {"image": counted.captions, "text": counted.images}  # image retrieval asks once a caption
    return [
        Measured(name, "zeroshot_retrieval", metric, value, *wilson(value, n), n)
        for metric, value in metrics.items()
        for n in [trials[metric.split("_")[0]]]
    ]


def contrastive_loss(
    name: str, model: CLIP | CustomTextCLIP, tokenizer: Tokenizer, batches: Iterable[Any], batch_size: int, device: str
) -> Measured:
    """Mean InfoNCE over the set's (image, first caption) pairs in fixed batches, nats.

    A last batch that is not full is left out: the loss depends on the batch's size.
    """
    images, texts = [], []
    with torch.no_grad():
        for pixels, captions in batches:
            images.append(F.normalize(model.encode_image(pixels.to(device)), dim=-1))
            texts.append(F.normalize(model.encode_text(tokenizer([lines[0] for lines in captions]).to(device)), dim=-1))
        image, text = torch.cat(images), torch.cat(texts)
        whole = len(image) // batch_size * batch_size
        if not whole:
            raise EvaluationError(
                f"{name}: {len(image)} pairs, fewer than evaluation.loss_batch_size {batch_size}. Lower it."
            )
        scale = model.logit_scale.exp()
        losses = []
        for start in range(0, whole, batch_size):
            logits = scale * image[start : start + batch_size] @ text[start : start + batch_size].T
            pair = torch.arange(batch_size, device=logits.device)
            losses.append(
                (F.cross_entropy(logits, pair, reduction="none") + F.cross_entropy(logits.T, pair, reduction="none"))
                / 2
            )
    values = torch.cat(losses).double().cpu().numpy()
    _require_finite(name, torch.from_numpy(values))
    return Measured(
        name, "zeroshot_retrieval", "contrastive_loss", float(values.mean()), *mean_interval(values), len(values)
    )


def _require_finite(name: str, values: Tensor) -> None:
    if not bool(torch.isfinite(values).all()):
        raise EvaluationError(
            f"{name}: the model's outputs are not finite. Its training diverged: see the cell's curve.jsonl."
        )


class _Counted:
    """Passes (images, captions) batches through and counts them."""

    def __init__(self, batches: Iterable[Any]) -> None:
        self.batches = batches
        self.images = self.captions = 0

    def __iter__(self) -> Any:
        for pixels, captions in self.batches:
            self.images += len(pixels)
            self.captions += sum(len(lines) for lines in captions)
            yield pixels, captions
