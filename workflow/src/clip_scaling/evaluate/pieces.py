"""Examples of a linear probe, brought to the device in pieces where it cannot hold them all."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..models.side_stream import SideStream

CPU = torch.device("cpu")
RESIDENT_SHARE = 0.25
"""Of a GPU's free memory: features up to it are moved there once."""
Piece = tuple[Tensor, Tensor]
"""Features (n, dim) and classes (n,), on the device."""


@dataclass(frozen=True)
class Examples:
    """Features with their classes, or some rows of them, without a copy.

    features: (n, dim) fp32, on the device or on the CPU, where they may be mapped from a file. labels: (n,) int64, on
    the CPU. rows: (m,) int64, the chosen ones; None for all. device: where pieces are asked for.
    """

    features: Tensor
    labels: Tensor
    rows: Tensor | None = None
    device: torch.device = CPU

    def __len__(self) -> int:
        return len(self.labels) if self.rows is None else len(self.rows)

    def on(self, device: torch.device) -> Examples:
        """The same examples for a device, which gets all features at once if it has the room."""
        if device.type == "cuda" and self.features.nbytes <= RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            return replace(self, features=self.features.to(device), device=device)
        return replace(self, device=device)

    def choose(self, rows: Tensor) -> Examples:
        """Some of these examples, by their places among them."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def in_order(self, size: int) -> Iterator[Piece]:
        """Yield pieces of at most so many examples, in their own order."""
        return self.shuffled(torch.arange(len(self)), size)

    def shuffled(self, order: Tensor, size: int) -> Iterator[Piece]:
        """Yield pieces in the order of these places. On a GPU the next piece comes while one is in use."""
        parts = order.split(size)
        if self.device.type != "cuda" or self.features.device == self.device:
            yield from map(self._take, parts)
            return
        stream = SideStream(self.device)

        def take(part: Tensor) -> Piece:
            features, labels = replace(self, device=CPU)._take(part)
            return stream.copy(features.pin_memory()), stream.copy(labels.pin_memory())

        with ThreadPoolExecutor(1, thread_name_prefix="pieces") as thread:
            coming = thread.submit(take, parts[0])
            for number in range(len(parts)):
                features, labels = coming.result()
                if number + 1 < len(parts):
                    coming = thread.submit(take, parts[number + 1])
                yield stream.hand_over(features), stream.hand_over(labels)

    def _take(self, places: Tensor) -> Piece:
        rows = places if self.rows is None else self.rows[places]
        return self.features[rows.to(self.features.device)], self.labels[rows].to(self.device)
