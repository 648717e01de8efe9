"""Ranks of right answers among scores, and average precision, in blocks that bound the memory, without sorting rows.

Of equal scores the one with the lower number stands first, as in a stable sort: an image of a set whose scores are all
equal is classified as class 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

BLOCK = 1 << 22
"""Scores that are in memory at a time."""
Check = Callable[[Tensor], None]


def target_ranks(queries: Tensor, answers: Tensor, target: Tensor, device: torch.device, check: Check) -> Tensor:
    """Count the answers before each query's right one: (n,) int64, on the CPU.

    queries: (n, dim). answers: (m, dim). target: (n,) the right answer's number. check: is given every block of scores.
    """
    found = []
    answers = answers.to(device)
    numbers = torch.arange(len(answers), device=device)
    for rows in _blocks(len(queries), len(answers)):
        scores = queries[rows].to(device) @ answers.T
        check(scores)
        right = target[rows].to(device)[:, None]
        found.append(_before(scores, scores.gather(1, right), right, numbers))
    return torch.cat(found)


def best_ranks(queries: Tensor, answers: Tensor, owners: Tensor, device: torch.device, check: Check) -> Tensor:
    """Count the answers before the best of each query's own: (n,) int64, on the CPU.

    owners: (m,) the query that each answer is right for; every query has one at least. The rest as `target_ranks`.
    """
    found = []
    answers, owners = answers.to(device), owners.to(device)
    numbers = torch.arange(len(answers), device=device)
    for rows in _blocks(len(queries), len(answers)):
        scores = queries[rows].to(device) @ answers.T
        check(scores)
        is_own = owners == torch.arange(rows.start, rows.start + len(scores), device=device)[:, None]
        best = scores.masked_fill(~is_own, -torch.inf).amax(1, keepdim=True)
        first = numbers.where(is_own & (scores == best), len(answers)).amin(1, keepdim=True)
        found.append(_before(scores, best, first, numbers))
    return torch.cat(found)


def _before(scores: Tensor, own: Tensor, place: Tensor, numbers: Tensor) -> Tensor:
    """How many scores of each row stand before `own`, which stands at `place`."""
    return ((scores > own) | ((scores == own) & (numbers < place))).sum(1).cpu()


def average_precisions(
    images: Tensor, classes: Tensor, labels: Tensor, counts: Tensor, device: torch.device, check: Check
) -> tuple[Tensor, Tensor]:
    """Average precision of each class, on all images and on redrawn ones: (classes,) and (draws, classes), float64.

    images: (n, dim). classes: (classes, dim). labels: (n, classes) of 0 and 1. counts: (draws, n) uint8, how often each
    image was drawn. A class without a positive image counts as 0. One class is sorted at a time.
    """
    images, counts = images.to(device), counts.to(device)
    values, draws = [], []
    for columns in _blocks(len(classes), len(images)):
        scores = images @ classes[columns].to(device).T
        check(scores)
        for column, truth in zip(scores.T, labels[:, columns].T.to(device), strict=True):
            order = column.argsort(descending=True, stable=True)
            place = truth[order].nonzero()[:, 0]  # of the positive images
            once = torch.ones(1, len(order), dtype=torch.uint8, device=device)
            values.append(_precision(once, place))
            draws.append(torch.cat([_precision(some[:, order], place) for some in counts.split(_draws(len(order)))]))
    return torch.cat(values).cpu(), torch.stack(draws, dim=1).cpu()


def _precision(counts: Tensor, place: Tensor) -> Tensor:
    """Mean precision at each copy of a positive image: (draws,). counts: (draws, n) of the sorted images.

    place: of the positive ones. An image that was drawn c times stands there c times in a row.
    """
    copies = counts[:, place].long()
    ahead = counts.cumsum(1, dtype=torch.int32)[:, place].long() - copies
    positives = copies.cumsum(1)
    total = torch.zeros(len(counts), dtype=torch.double, device=counts.device)
    for copy in range(1, int(copies.max()) + 1 if copies.numel() else 1):
        precision = (positives - copies + copy).double() / (ahead + copy)
        total += (precision * (copy <= copies)).sum(1)
    return total / copies.sum(1).clamp(min=1)


def _draws(images: int) -> int:
    """Draws that are in memory at a time."""
    return max(1, BLOCK // max(1, images) // 4)


def _blocks(rows: int, width: int) -> Iterator[slice]:
    step = max(1, BLOCK // max(1, width))
    return (slice(begin, min(begin + step, rows)) for begin in range(0, rows, step))
