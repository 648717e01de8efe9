"""The order in which pairs are seen: a function of (number of pairs, seed, epoch) alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np


@lru_cache(maxsize=2)
def epoch_order(pairs: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of range(pairs), (pairs,) int64: each pair once an epoch."""
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(pairs)
    order.flags.writeable = False
    return order


def batch_indices(step: int, batch_size: int, pairs: int, seed: int) -> np.ndarray:
    """Indices of the pairs of one global batch, (batch_size,) int64.

    Epochs follow each other without a gap: a batch may end one and begin the next. Any step can be
    asked for without those before it, which is what a resumed run does.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // pairs
    parts = [epoch_order(pairs, seed, int(epoch))[positions[epochs == epoch] % pairs] for epoch in np.unique(epochs)]
    return np.concatenate(parts)
