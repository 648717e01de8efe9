"""The order in which pairs are seen: a function of (data, seed, epoch) alone, at any place, in constant memory.

Positions 0, 1, 2, ... count the samples of a run; a global batch is a range of positions. `Order.indices` says which
pair stands at a position, without what came before it: a run continues at any step, and every rank and worker can ask
for its own part. Permutations are Feistel networks over the pairs' numbers (cycle-walking; Black and Rogaway 2002), so
that no array grows with the data.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]
Words = NDArray[np.uint64]
_ROUNDS = 6
_WORD = (1 << 64) - 1


def mix(words: Words) -> Words:
    """SplitMix64's finaliser (Steele et al. 2014): uint64 -> uint64, every output bit depends on every input bit."""
    z = words + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def key(*parts: int) -> np.uint64:
    """One 64-bit key from a tuple of non-negative integers."""
    state = 0
    for part in parts:
        state = _mix_one(state ^ _mix_one(part))
    return np.uint64(state)


def _mix_one(word: int) -> int:
    """`mix` of one integer, many times faster than through an array."""
    z = (word + 0x9E3779B97F4A7C15) & _WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _WORD
    return z ^ (z >> 31)


def draws(seed: np.uint64, counters: Words | Indices) -> Words:
    """Random uint64 by counter: the same for the same (seed, counter)."""
    return mix(mix(counters.astype(np.uint64)) ^ seed)


def uniforms(seed: np.uint64, counters: Words | Indices) -> NDArray[np.float64]:
    """Random floats in [0, 1) by counter."""
    return (draws(seed, counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def permute(places: Indices, size: int, seed: np.uint64) -> Indices:
    """Where a random permutation of range(size) sends each place."""
    if size == 1:
        return np.zeros_like(places)
    half = np.uint64((int(size - 1).bit_length() + 1) // 2)
    mask = np.uint64((1 << int(half)) - 1)
    keys = [key(int(seed), number) for number in range(_ROUNDS)]

    def network(values: Words) -> Words:
        left, right = values >> half, values & mask
        for number in keys:
            left, right = right, left ^ (mix(right ^ number) & mask)
        return (left << half) | right

    values = network(places.astype(np.uint64))
    outside = np.flatnonzero(values >= size)
    while outside.size:  # on average less than three more rounds: the network's domain is below 4 x size
        values[outside] = network(values[outside])
        outside = outside[values[outside] >= size]
    return values.astype(np.int64)


class Order:
    """Which pair stands at each position of a run.

    shard_pairs: number of pairs of each shard, in the manifest's order; pairs are numbered through all shards.
    readers: None shuffles all pairs of an epoch. With N, position p belongs to virtual reader p mod N, which walks a
        run of whole shards (shuffled anew each epoch) in windows of `window` shuffled pairs.
    replacement: pairs (with readers: shards) are drawn with replacement; an epoch is then `virtual_epoch` samples.
    """

    def __init__(
        self,
        shard_pairs: Sequence[int],
        seed: int,
        *,
        readers: int | None = None,
        window: int = 4096,
        replacement: bool = False,
        virtual_epoch: int | None = None,
    ) -> None:
        self.shard_pairs = np.asarray(shard_pairs, dtype=np.int64)
        self.starts = np.concatenate([[0], np.cumsum(self.shard_pairs)])
        self.pairs = int(self.starts[-1])
        self.seed, self.readers, self.window, self.replacement = seed, readers, window, replacement
        self.epoch_samples = (virtual_epoch or self.pairs) if replacement else self.pairs
        # An epoch's sequence of shards is asked for at every step.
        self._shards = lru_cache(maxsize=2)(self._shard_sequence)

    def epochs(self, positions: Indices) -> Indices:
        """Epoch of each position, from 0."""
        return positions // self.epoch_samples

    def indices(self, positions: Indices) -> Indices:
        """Number of the pair at each position, both (n,) int64."""
        positions = np.asarray(positions, dtype=np.int64)
        epochs = self.epochs(positions)
        found = np.empty_like(positions)
        for epoch in np.unique(epochs):
            inside = epochs == epoch
            found[inside] = self._of_epoch(positions[inside] - epoch * self.epoch_samples, int(epoch))
        return found

    def substitutes(self, positions: Indices, attempt: int) -> Indices:
        """The pairs that stand in for unreadable ones at these positions: drawn anew for each attempt."""
        return (draws(key(self.seed, 3, attempt), positions) % np.uint64(self.pairs)).astype(np.int64)

    def _of_epoch(self, places: Indices, epoch: int) -> Indices:
        if self.readers is None:
            if self.replacement:
                return (draws(key(self.seed, epoch, 1), places) % np.uint64(self.pairs)).astype(np.int64)
            return permute(places, self.pairs, key(self.seed, epoch, 0))
        reader, turn = places % self.readers, places // self.readers
        # The epoch's sequence of pairs is cut into one run a reader; the first readers' may be one pair longer.
        short, longer = divmod(self.epoch_samples, self.readers)
        begin = reader * short + np.minimum(reader, longer)
        length = short + (reader < longer)
        block = turn // self.window
        in_block = turn % self.window
        size = np.minimum(self.window, length - block * self.window)
        place = np.empty_like(turn)
        for which in np.unique(np.stack([reader, block, size]), axis=1).T:
            same = (reader == which[0]) & (block == which[1])
            seed = key(self.seed, epoch, 2, int(which[0]), int(which[1]))
            place[same] = permute(in_block[same], int(which[2]), seed)
        return self._pairs_in_sequence(begin + block * self.window + place, epoch)

    def _pairs_in_sequence(self, places: Indices, epoch: int) -> Indices:
        shards, ends = self._shards(epoch)
        at = np.searchsorted(ends, places, side="right")
        inside = places - (ends[at] - self.shard_pairs[shards[at]])
        return self.starts[shards[at]] + inside

    def _shard_sequence(self, epoch: int) -> tuple[Indices, Indices]:
        """The shards that an epoch walks, and the running sum of their pairs; at least epoch_samples in all."""
        count = len(self.shard_pairs)
        seed = key(self.seed, epoch, 4)
        if not self.replacement:
            shards = permute(np.arange(count), count, seed)
            return shards, np.cumsum(self.shard_pairs[shards])
        number = count
        while True:
            shards = (draws(seed, np.arange(number)) % np.uint64(count)).astype(np.int64)
            ends = np.cumsum(self.shard_pairs[shards])
            if ends[-1] >= self.epoch_samples:
                return shards, ends
            number *= 2


def rank_positions(step: int, batch_size: int, rank: int, ranks: int) -> Indices:
    """The positions of a rank's share of one global batch, (batch_size / ranks,) int64.

    Every ranks-th position: a rank then meets the virtual readers rank, rank + ranks, ... and no others.
    """
    return np.arange(step * batch_size + rank, (step + 1) * batch_size, ranks, dtype=np.int64)


def order_digest(positions: Indices, indices: Indices) -> int:
    """Digest of samples that were seen, as a signed 64-bit number.

    A sum over samples: parts from ranks, workers and continued runs add up (modulo 2^64) to the digest of the whole,
    and equal digests mean that the same pair stood at every position.
    """
    words = mix(mix(positions.astype(np.uint64)) ^ indices.astype(np.uint64))
    with np.errstate(over="ignore"):
        return int(words.sum(dtype=np.uint64).astype(np.int64))


def add_digests(*digests: int) -> int:
    """The digest of several parts together."""
    total = sum(digests) & ((1 << 64) - 1)
    return total - (1 << 64) if total >> 63 else total
