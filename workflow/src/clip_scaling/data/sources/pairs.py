"""What every source hands over: training pairs in order, and the sets kept out of training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from ...errors import DataError


@dataclass(frozen=True, slots=True)
class Pair:
    """One image with its caption.

    identity: `vendor:name`, unique in its source; it fixes the pair's place in the order.
    png: the encoded image. pixels: digest of the decoded RGB pixels.
    """

    identity: str
    caption: str
    png: bytes
    pixels: bytes

    @property
    def key(self) -> str:
        """The webdataset key, `vendor/name`."""
        return self.identity.replace(":", "/", 1)


@dataclass(frozen=True, slots=True)
class HeldOutSet:
    """One evaluation set: pairs in hash order, and for classification the class of each.

    kept_from_training: every pair that left training for this set, used as a test image or not.
    """

    kind: str
    pairs: list[Pair]
    kept_from_training: int
    classes: list[str] = field(default_factory=list)
    templates: list[str] = field(default_factory=list)

    def label(self, pair: Pair) -> int:
        """Index of the pair's class."""
        return self.classes.index(pair.caption)


@dataclass(frozen=True, slots=True)
class SourceContent:
    """A whole source in memory. parsed = len(training) + held out + dropped, or DataError.

    dropped: number of pairs that left, by reason. attribution: the text of ATTRIBUTION.md.
    """

    training: list[Pair]
    held_out: dict[str, HeldOutSet]
    parsed: int
    dropped: dict[str, int]
    attribution: str

    def counts(self) -> dict[str, object]:
        """The balance, as the manifest shows it."""
        held_out = {name: held.kept_from_training for name, held in sorted(self.held_out.items())}
        balance = len(self.training) + sum(held_out.values()) + sum(self.dropped.values())
        if balance != self.parsed:
            raise DataError(
                f"{self.parsed} pairs were parsed but {balance} are accounted for. "
                "This is a fault of clip_scaling.data: please report it with the recipe."
            )
        return {
            "parsed": self.parsed,
            "kept": len(self.training),
            "held_out": held_out,
            "dropped": dict(sorted(self.dropped.items())),
        }


def hash_order(text: str) -> bytes:
    """Sort key that shuffles for good: the same text has the same place in every subset and version."""
    return hashlib.sha256(text.encode("utf-8")).digest()


def order_digest(identities: Iterable[str]) -> str:
    """sha256 over the identities in order, one a line: two data sets with one digest hold the same pairs."""
    digest = hashlib.sha256()
    for identity in identities:
        digest.update(identity.encode("utf-8") + b"\n")
    return digest.hexdigest()
