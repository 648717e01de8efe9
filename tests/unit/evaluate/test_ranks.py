"""Ranks and average precisions in blocks are those of full sorts, ties included, in bounded memory."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clip_scaling.evaluate import ranks
from clip_scaling.evaluate.features import Features
from clip_scaling.evaluate.measure import classification, multilabel, retrieval
from clip_scaling.evaluate.ranks import average_precisions, best_ranks, target_ranks

CPU = torch.device("cpu")
OF_BLOCK = [7, 40, 1 << 24]


class Largest(TorchDispatchMode):
    """Remembers the most numbers of a tensor that was made."""

    numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **kwargs or {})
        for one in made if isinstance(made, list | tuple) else [made]:
            if isinstance(one, Tensor):
                self.numbers = max(self.numbers, one.numel())
        return made


def any_scores(_: Tensor) -> None:
    pass


def whole_numbers(rows: int, width: int, seed: int) -> Tensor:
    """Small whole numbers: products are exact, and many are equal."""
    return torch.randint(-1, 2, (rows, width), generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("block", OF_BLOCK)
def test_a_targets_rank_is_its_place_in_a_stable_sort(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BLOCK", block)
    images, classes, target = whole_numbers(23, 3, 0), whole_numbers(6, 3, 1), torch.arange(23) % 6
    order = (images @ classes.T).argsort(dim=1, descending=True, stable=True)
    expected = (order == target[:, None]).int().argmax(1)
    assert torch.equal(target_ranks(images, classes, target, CPU, any_scores), expected)


@pytest.mark.parametrize("block", OF_BLOCK)
def test_the_best_of_several_answers_has_its_place_in_a_stable_sort(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "BLOCK", block)
    images, texts, owners = whole_numbers(9, 3, 2), whole_numbers(20, 3, 3), torch.arange(20) * 9 // 20
    order = (images @ texts.T).argsort(dim=1, descending=True, stable=True)
    expected = (owners[order] == torch.arange(9)[:, None]).int().argmax(1)
    assert torch.equal(best_ranks(images, texts, owners, CPU, any_scores), expected)


def test_equal_scores_go_to_the_first() -> None:
    features = Features(torch.zeros(4, 2), torch.arange(4), torch.empty(0, 2), torch.empty(0, dtype=torch.long))
    # All scores are 0: each image is class 0, and classes 0 to 4 are the five that acc5 looks at.
    first, five, recall = classification("x", features, torch.zeros(7, 2))
    assert (first.value, five.value, recall.value) == (0.25, 1.0, 0.25)


def precision_by_sort(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over positive images of the share of positives up to each."""
    truth = target.gather(0, logits.argsort(dim=0, descending=True, stable=True)).double()
    precision = truth.cumsum(0) / torch.arange(1, len(truth) + 1, dtype=torch.double)[:, None]
    return (precision * truth).sum(0) / truth.sum(0).clamp(min=1)


@pytest.mark.parametrize("block", OF_BLOCK)
def test_average_precisions_of_redrawn_images_are_those_of_sorting_them(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ranks, "BLOCK", block)
    generator = torch.Generator().manual_seed(0)
    images, classes = torch.randn(31, 4, generator=generator), torch.randn(5, 4, generator=generator)
    labels = (torch.rand(31, 5, generator=generator) < 0.3).long()
    labels[:, 2] = 0
    drawn = torch.randint(31, (6, 31), generator=generator)
    counts = torch.stack([rows.bincount(minlength=31) for rows in drawn]).to(torch.uint8)
    values, draws = average_precisions(images, classes, labels, counts, CPU, any_scores)
    logits = images @ classes.T
    torch.testing.assert_close(values, precision_by_sort(logits, labels), rtol=1e-12, atol=0)
    for rows, found in zip(drawn, draws, strict=True):
        torch.testing.assert_close(found, precision_by_sort(logits[rows], labels[rows]), rtol=1e-12, atol=0)
    assert values[2] == 0


@pytest.mark.parametrize("task", ["classification", "retrieval", "multilabel"])
def test_no_tensor_grows_with_images_times_answers(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "BLOCK", 10_000)
    images, answers = torch.randn(2000, 4), torch.randn(300, 4)
    labels, owners = torch.arange(2000) % 300, torch.arange(2000)
    with Largest() as made:
        if task == "classification":
            classification("x", Features(images, labels, torch.empty(0, 4), torch.empty(0)), answers)
        elif task == "retrieval":
            retrieval("x", Features(images, torch.empty(0), torch.randn(2000, 4), owners))
        else:
            several = (labels[:, None] == torch.arange(3)).long()
            multilabel("x", Features(images, several, torch.empty(0, 4), torch.empty(0)), answers[:3])
    # 600,000 and 4,000,000 scores in all; the bootstrap of mean average precision holds a byte an image and draw.
    assert made.numbers <= (200 * 2000 if task == "multilabel" else 10_000)
