"""An evaluation cut into jobs of equal cost. Light: no torch.

Whole sets go first, the longest to the job that has least (LPT: at most 4/3 of the least possible; R. L. Graham 1969,
"Bounds on multiprocessing timing anomalies"). A set that costs more than a job's share is cut into blocks of batches,
which fill the jobs up to one level.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..data.evaluation_sets.size import SetSize
from ..records.evaluation import Piece

BLOCK_BATCHES = 16
"""Batches of a block: what an interruption can lose, and the unit in which a split is cut."""
MEASURE = "measure"
"""Label of the seconds of all that follows encoding."""


@dataclass(frozen=True)
class Costs:
    """Seconds of each set of a suite.

    sizes: of every set. probed: sets whose training split is encoded. recorded: by set and split or MEASURE, of another
    checkpoint. What is not recorded follows from its images, at the pace of what is; without any a second each.
    """

    sizes: Mapping[str, SetSize]
    probed: frozenset[str]
    recorded: Mapping[str, Mapping[str, float]]

    def images(self, dataset: str) -> dict[str, int]:
        """Images by split that is encoded."""
        size = self.sizes[dataset]
        return {"test": size.images} | ({"train": size.train} if dataset in self.probed else {})

    def of(self, dataset: str) -> dict[str, float]:
        """Seconds by split, and of MEASURE."""
        known = self.recorded.get(dataset, {})
        pace = self.pace
        costs = {split: known.get(split, pace * images) for split, images in self.images(dataset).items()}
        return costs | {MEASURE: known.get(MEASURE, pace * self.sizes[dataset].prompts)}

    @property
    def pace(self) -> float:
        """Seconds an image, the mean over what is recorded."""
        seconds = images = 0.0
        for dataset in self.sizes:
            for split, count in self.images(dataset).items():
                if split in self.recorded.get(dataset, {}):
                    seconds, images = seconds + self.recorded[dataset][split], images + count
        return seconds / images if seconds and images else 1.0


def cut(costs: Costs, jobs: int, block_images: int, may_cut_sets: bool = True) -> list[list[Piece]]:
    """Cut a suite into the pieces of each of `jobs` jobs; some may have none.

    block_images: of a block. may_cut_sets: False where the place of a block is not known before it is read.
    """
    share = sum(sum(costs.of(dataset).values()) for dataset in costs.sizes) / jobs
    whole: list[Piece] = []
    splits: list[_Split] = []
    for dataset in costs.sizes:
        seconds = sum(costs.of(dataset).values())
        is_large = seconds > share and max(costs.images(dataset).values()) > block_images
        if jobs > 1 and may_cut_sets and is_large:
            splits += _splits(costs, dataset, block_images)
        else:
            whole.append(Piece(dataset=dataset, seconds=seconds))
    shares: list[list[Piece]] = [[] for _ in range(jobs)]
    for piece in sorted(whole, key=lambda piece: -piece.seconds):
        min(shares, key=_load).append(piece)
    _fill(shares, splits)
    return shares


@dataclass
class _Split:
    """What is left of a split that is cut: from block `first` on. seconds: of a block."""

    dataset: str
    name: str
    blocks: int
    seconds: float
    first: int = 0

    def take(self, count: int) -> Piece:
        """Take the next blocks; the last of them go to the end of the split, wherever that is."""
        first, self.first = self.first, self.first + count
        end = self.first if self.first < self.blocks else None
        return Piece(dataset=self.dataset, split=self.name, first=first, end=end, seconds=count * self.seconds)


def _splits(costs: Costs, dataset: str, block_images: int) -> Iterator[_Split]:
    for split, images in costs.images(dataset).items():
        blocks = max(1, math.ceil(images / block_images))
        yield _Split(dataset, split, blocks, costs.of(dataset)[split] / blocks)


def _load(pieces: list[Piece]) -> float:
    return sum(piece.seconds for piece in pieces)


def _fill(shares: list[list[Piece]], splits: list[_Split]) -> None:
    """Fill the jobs to one level with blocks in a row, so that each job reads each split in one go at most."""
    level = _level([_load(share) for share in shares], sum(split.blocks * split.seconds for split in splits))
    left = [split for split in splits if split.blocks]
    for place, share in enumerate(sorted(shares, key=_load), start=1):
        while left:
            split = left[0]
            rest, room = split.blocks - split.first, level - _load(share)
            fitting = round(room / split.seconds) if split.seconds else rest
            count = rest if place == len(shares) else min(rest, fitting)
            if count <= 0:
                break
            share.append(split.take(count))
            if split.first == split.blocks:
                left.pop(0)


def _level(loads: list[float], more: float) -> float:
    """The load of each job that is filled up where so many seconds are added to the emptiest."""
    loads = sorted(loads)
    for count in range(1, len(loads) + 1):
        level = (sum(loads[:count]) + more) / count
        if count == len(loads) or level <= loads[count]:
            return level
    return 0.0
