"""What is kept out of training, chosen by rules that look only at captions, vendors and pixels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from ...errors import DataError
from .pairs import HeldOutSet, Pair, hash_order


def widespread_captions(drawn: Iterable[tuple[str, str]]) -> dict[str, int]:
    """Number of distinct vendors that draw each caption. drawn: (vendor, caption) of every training pair."""
    vendors: dict[str, set[str]] = defaultdict(set)
    for vendor, caption in drawn:
        vendors[caption].add(vendor)
    return {caption: len(who) for caption, who in vendors.items()}


def classification_set(
    name: str,
    pairs: Sequence[Pair],
    spread: Mapping[str, int],
    classes: int,
    templates: list[str],
    kept_from_training: int,
) -> HeldOutSet:
    """The `classes` most widespread training captions that the held-out vendors draw, with all their drawings.

    pairs: rendered pairs of the held-out vendors, in hash order. spread: `widespread_captions` of training.
    Of drawings with equal pixels the first stays; where they carry two class names, none does.
    DataError where the vendors draw too few training captions.
    """
    drawn = {pair.caption for pair in pairs if pair.caption in spread}
    chosen = sorted(drawn, key=lambda caption: (-spread[caption], caption))[:classes]
    if len(chosen) < classes:
        raise DataError(
            f"held_out.{name}: its sets draw only {len(chosen)} captions that training also draws, "
            f"{classes} classes are asked for. Lower `classes` or name more `sets`."
        )
    members = [pair for pair in pairs if pair.caption in set(chosen)]
    meanings: dict[bytes, set[str]] = defaultdict(set)
    for pair in members:
        meanings[pair.pixels].add(pair.caption)
    seen: set[bytes] = set()
    kept = []
    for pair in members:
        if len(meanings[pair.pixels]) == 1 and pair.pixels not in seen:
            seen.add(pair.pixels)
            kept.append(pair)
    empty = set(chosen) - {pair.caption for pair in kept}
    if empty:
        raise DataError(
            f"held_out.{name}: no unambiguous drawing is left of {', '.join(sorted(empty))}. "
            "Lower `classes` or name more `sets`."
        )
    return HeldOutSet("zeroshot_classification", kept, kept_from_training, sorted(chosen), templates)


def retrieval_set(
    name: str, pool: Sequence[Pair], pairs: int, reserved: Collection[str], taken: Collection[bytes]
) -> tuple[HeldOutSet, set[str]]:
    """`pairs` captions drawn by hash from the training pool, one drawing of each; all their pairs leave training.

    pool: training pairs in hash order. reserved: captions that must stay in training (class names).
    taken: pixels that another evaluation set already shows.
    Returns: the set and its captions.
    DataError where the pool has too few captions.
    """
    drawings: dict[str, list[Pair]] = defaultdict(list)
    for pair in pool:
        if pair.caption not in reserved:
            drawings[pair.caption].append(pair)
    seen = set(taken)
    chosen: list[Pair] = []
    for caption in sorted(drawings, key=hash_order):
        if len(chosen) == pairs:
            break
        fresh = next((pair for pair in drawings[caption] if pair.pixels not in seen), None)
        if fresh is not None:
            seen.add(fresh.pixels)
            chosen.append(fresh)
    if len(chosen) < pairs:
        raise DataError(
            f"held_out.{name}: {pairs} pairs with a caption of their own are asked for, the training pool has "
            f"{len(chosen)}. Lower `pairs` or admit more sets."
        )
    captions = {pair.caption for pair in chosen}
    chosen.sort(key=lambda pair: hash_order(pair.identity))
    return HeldOutSet("zeroshot_retrieval", chosen, sum(len(drawings[caption]) for caption in captions)), captions


def drop_repeats(
    pool: Iterable[Pair], evaluation: Mapping[str, Collection[bytes]], dropped: Counter[str]
) -> Iterator[Pair]:
    """Yield the pairs whose pixels are nowhere else: not in an evaluation set, not earlier in the pool.

    evaluation: pixels of every set. dropped: counts by reason, added to as pairs are left out.
    """
    shown = {pixels: name for name in sorted(evaluation, reverse=True) for pixels in evaluation[name]}
    seen: set[bytes] = set()
    for pair in pool:
        if pair.pixels in shown:
            dropped[f"pixels_in_{shown[pair.pixels]}"] += 1
        elif pair.pixels in seen:
            dropped["duplicate_pixels"] += 1
        else:
            seen.add(pair.pixels)
            yield pair
