"""Features of a split in blocks of whole batches, each kept as soon as it is encoded.

An evaluation that was stopped goes on behind the last block that it kept, and several jobs can encode blocks of one
split. The batches are those of a run in one piece, so that the features are, to the bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..data.evaluation_sets.read import ImageBatch
from .cut import BLOCK_BATCHES
from .features import Features
from .store import Store


@dataclass(frozen=True)
class Blocks:
    """The blocks of one split.

    key: of the whole split's features. batch_size: images a batch. read: the batches from a sample on.
    encode: the features of some batches.
    """

    store: Store
    key: dict[str, Any]
    batch_size: int
    read: Callable[[int], Iterator[ImageBatch]]
    encode: Callable[[Iterator[ImageBatch]], Features]

    @property
    def images(self) -> int:
        """Images of a block; the last has fewer."""
        return BLOCK_BATCHES * self.batch_size

    def whole(self) -> Features:
        """Join all blocks, those that are kept and those that are made now."""
        return joined(list(self._features(0, None)))

    def fill(self, first: int, end: int | None) -> None:
        """Make and keep the blocks from `first` up to `end`, or to the last, that are not kept yet."""
        for _ in self._features(first, end, keeps_all=True):
            pass

    def drop(self, images: int) -> None:
        """Delete the blocks of a split of so many images, whose features are kept as a whole."""
        for number in range(images // self.images + 1):
            self.store.drop_features(self._block(number))

    def _features(self, first: int, end: int | None, keeps_all: bool = False) -> Iterator[Features]:
        begin = first * self.images
        batches: Iterator[ImageBatch] | None = None
        for number in itertools.count(first) if end is None else range(first, end):
            label = self.key["split"]
            found = self.store.stored_features(self._block(number), label)
            if found is not None:
                batches = None
            else:
                batches = self.read(begin) if batches is None else batches
                found = self._encode(batches, number, label, keeps_all)
                if found is None:
                    return
            yield found
            begin += len(found.images) + int(found.skipped)
            if len(found.images) < self.images:
                return

    def _encode(self, batches: Iterator[ImageBatch], number: int, label: str, keeps_all: bool) -> Features | None:
        """Encode the next block and keep it; None where nothing is left. A split of one block is kept as a whole."""
        first = next(batches, None)
        if first is None and number:
            return None
        some = itertools.chain([] if first is None else [first], itertools.islice(batches, BLOCK_BATCHES - 1))
        before = self.store.spent.get(label, 0.0)
        found = self.store.made(lambda: self.encode(some), label)
        if keeps_all or number or len(found.images) == self.images:
            self.store.keep_features(self._block(number), found, self.store.spent[label] - before)
        return found

    def _block(self, number: int) -> dict[str, Any]:
        return self.key | {"block": number, "batches": BLOCK_BATCHES}


def joined(blocks: list[Features]) -> Features:
    """Features of blocks in a row as those of all their images."""
    if len(blocks) == 1:
        return blocks[0]
    firsts = itertools.accumulate((len(block.images) for block in blocks[:-1]), initial=0)
    return Features(
        torch.cat([block.images for block in blocks]),
        torch.cat([block.labels for block in blocks]),
        torch.cat([block.texts for block in blocks]),
        torch.cat([first + block.owners for first, block in zip(firsts, blocks, strict=True)]),
        torch.stack([block.skipped for block in blocks]).sum(),
        _least([int(block.halved_to) for block in blocks]),
    )


def _least(sizes: list[int]) -> torch.Tensor:
    return torch.tensor(min((size for size in sizes if size), default=0))
