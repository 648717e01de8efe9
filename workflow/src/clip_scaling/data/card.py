"""A data card: a training set in numbers and in one picture, measured on its first pairs.

Pairs stand in hash order, so the first ones are a random sample of the set, and of every set that contains it.
"""

from __future__ import annotations

import io
import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..records.data import (
    CaptionNumbers,
    DataCard,
    DuplicateCounts,
    ImageNumbers,
    Quantiles,
    SourceManifest,
    SubsetManifest,
)
from ..records.filenames import CARD, CONTACT_SHEET
from ..records.files import atomic_path
from .shards.read import PairReader, UnreadablePair, decode_caption, decode_image

SAMPLE_PAIRS = 5_000
"""Pairs whose captions and images are measured: shares are then known within 1.4 points at 95 %."""
SHEET_SIDE, CELL_PIXELS = 8, 56
"""The contact sheet shows 8 x 8 images of 56 pixels."""
SHEET_COLOURS = 128
"""A palette keeps the sheet small enough for the report (below 150 kB with photographs)."""
NO_LANGUAGE = "not measured: the source names no language"


def write_card(root: Path, data_manifest: Path, source_manifest: Path, duplicates: Path) -> None:
    """Write `card.json` and `contact_sheet.png` of a subset to root; the same data give the same bytes.

    duplicates: the subset's duplicates.json.

    ManifestError or DataError where manifest, index and shards do not agree.
    """
    subset, source = SubsetManifest.read(data_manifest), SourceManifest.read(source_manifest)
    has_languages = "language" in source.recipe.get("columns", {})
    with PairReader.open(data_manifest) as reader:
        sample = _measure(reader, subset, has_languages)
    save_sheet(root / CONTACT_SHEET, sample.pictures)
    repeats = DuplicateCounts.read(duplicates)  # it decoded every image, the sample a few
    DataCard(
        pairs=subset.pairs,
        source=subset.source,
        licences=source.recipe.get("licences") or "not limited: ATTRIBUTION.md of the source says what is known",
        pairs_of_the_source=source.counts,
        pairs_chosen=subset.counts,
        measured_on_first_pairs=min(SAMPLE_PAIRS, subset.pairs),
        unreadable=max(sample.unreadable, repeats.unreadable_images),
        captions=caption_numbers(sample.captions, _shares(sample.languages) if has_languages else NO_LANGUAGE),
        images=ImageNumbers(
            pixels_wide=quantiles([width for width, _ in sample.sizes]),
            pixels_high=quantiles([height for _, height in sample.sizes]),
            bytes=quantiles(sample.bytes),
        ),
        duplicates=repeats,
        order_digest=subset.order_digest,
    ).write(root / CARD)


@dataclass
class _Sample:
    """Measured pairs. sizes: width and height of images. bytes: of the encoded images."""

    captions: list[str] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    bytes: list[int] = field(default_factory=list)
    pictures: list[Image.Image] = field(default_factory=list)
    languages: Counter[str] = field(default_factory=Counter)
    unreadable: int = 0


def _measure(reader: PairReader, subset: SubsetManifest, has_languages: bool) -> _Sample:
    sample = _Sample()
    numbers, shown = _choose(subset)
    for number in numbers:
        try:
            content, text = reader.read(number)
            caption = decode_caption(text)
            with Image.open(io.BytesIO(content)) as image:  # the header only
                size = image.size
            if len(sample.pictures) < SHEET_SIDE**2 and (shown is None or number in shown):
                sample.pictures.append(decode_image(content))
        except (UnreadablePair, OSError):
            sample.unreadable += 1
            continue
        sample.captions.append(caption)
        sample.sizes.append(size)
        sample.bytes.append(len(content))
        if has_languages:
            sample.languages[_language(reader.read_members(number))] += 1
    return sample


def _choose(subset: SubsetManifest) -> tuple[Sequence[int], set[int] | None]:
    """Choose the pairs to measure, and those that may be shown (None: any of them).

    A subset of existing tars stands tar by tar, not in hash order: its sample is drawn, always the same one.
    """
    sampled = min(SAMPLE_PAIRS, subset.pairs)
    if subset.is_in_hash_order:
        return range(sampled), None
    drawn = np.random.default_rng(0).choice(subset.pairs, sampled, replace=False).tolist()
    return sorted(drawn), set(drawn[: SHEET_SIDE**2])


def _language(members: Mapping[str, bytes]) -> str:
    """The caption's language by the pair's list; `unknown` where the list has none."""
    listed = json.loads(members["json"]).get("listed", {}) if "json" in members else {}
    return str(listed.get("language") or "unknown")


def _shares(counts: Counter[str]) -> dict[str, float]:
    """Fractions of the twelve most frequent; equal ones by name."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:12]
    return {name: round(count / counts.total(), 4) for name, count in ranked}


def caption_numbers(captions: list[str], share_by_language: dict[str, float] | str = NO_LANGUAGE) -> CaptionNumbers:
    """Measure captions: lengths, distinct ones, the share of letters by script (`LATIN`, `CJK`, ...)."""
    scripts: Counter[str] = Counter()
    for letter, count in Counter("".join(captions)).items():
        if letter.isalpha():
            scripts[unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]] += count
    letters = scripts.total()
    return CaptionNumbers(
        characters=quantiles([len(caption) for caption in captions]),
        words=quantiles([len(caption.split()) for caption in captions]),
        distinct=len(set(captions)),
        share_of_letters_by_script={name: round(count / letters, 4) for name, count in scripts.most_common(8)},
        share_by_language=share_by_language,
    )


def quantiles(values: list[int]) -> Quantiles | None:
    """Least, 5 %, median, 95 % and greatest, each a value that occurs; None without values."""
    if not values:
        return None
    found = np.quantile(values, (0, 0.05, 0.5, 0.95, 1), method="inverted_cdf")
    return Quantiles(**dict(zip(Quantiles.model_fields, map(int, found), strict=True)))


def save_sheet(path: Path, pictures: list[Image.Image]) -> None:
    """Save the pictures side by side, each within its square on white, as a PNG with a palette."""
    pitch = CELL_PIXELS + 4
    rows = max(1, -(-len(pictures) // SHEET_SIDE))
    sheet = Image.new("RGB", (SHEET_SIDE * pitch, rows * pitch), "white")
    for number, picture in enumerate(pictures):
        fitted = ImageOps.contain(picture, (CELL_PIXELS, CELL_PIXELS))
        x = number % SHEET_SIDE * pitch + (pitch - fitted.width) // 2
        y = number // SHEET_SIDE * pitch + (pitch - fitted.height) // 2
        sheet.paste(fitted, (x, y))
    with atomic_path(path) as temporary:
        sheet.quantize(SHEET_COLOURS).save(temporary, format="PNG", optimize=True)
