"""A data card: what a training set holds, in numbers and in one picture, measured on its first pairs.

Pairs stand in hash order, so the first ones are a random sample of the set, and of every set that contains it.
"""

from __future__ import annotations

import io
import json
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..records.files import atomic_path, read_json, write_json
from .shards.read import PairReader, UnreadablePair, decode_caption, decode_image
from .shards.write import read_manifest

SAMPLE_PAIRS = 5_000
"""Captions and images of so many pairs are measured: shares are then known within 1.4 points at 95 %."""
SHEET_SIDE, CELL_PIXELS = 8, 56
"""The contact sheet shows 8 x 8 images of 56 pixels."""
SHEET_COLOURS = 128
"""A palette keeps the sheet small enough for the report (below 150 kB with photographs)."""


def write_card(root: Path, data_manifest: Path, source_manifest: Path, duplicates: Path) -> None:
    """Write `card.json` and `contact_sheet.png` of a subset to root; the same data give the same bytes.

    duplicates: the subset's duplicates.json.

    ManifestError or DataError where manifest, index and shards do not agree.
    """
    subset, source = read_manifest(data_manifest, "subset"), read_manifest(source_manifest, "source")
    sampled = min(SAMPLE_PAIRS, subset["pairs"])
    captions: list[str] = []
    sizes: list[tuple[int, int]] = []
    encoded: list[int] = []
    pictures: list[Image.Image] = []
    languages: Counter[str] = Counter()
    has_languages = "language" in source["recipe"].get("columns", {})
    unreadable = 0
    reader = PairReader(data_manifest)
    numbers, shown = _sample(subset)
    for number in numbers:
        try:
            content, text = reader.read(number)
            caption = decode_caption(text)
            with Image.open(io.BytesIO(content)) as image:  # the header only
                size = image.size
            if len(pictures) < SHEET_SIDE**2 and (shown is None or number in shown):
                pictures.append(decode_image(content))
        except (UnreadablePair, OSError):
            unreadable += 1
            continue
        captions.append(caption)
        sizes.append(size)
        encoded.append(len(content))
        if has_languages:
            languages[_language(reader.read_members(number))] += 1
    reader.close()
    save_sheet(root / "contact_sheet.png", pictures)
    card = {
        "pairs": subset["pairs"],
        "source": subset["source"],
        "licences": source["recipe"].get("licences") or "not limited: ATTRIBUTION.md of the source says what is known",
        "pairs_of_the_source": source["counts"],
        "pairs_chosen": subset["counts"],
        "measured_on_first_pairs": sampled,
        "unreadable": unreadable,
        "captions": caption_numbers(captions)
        | {"share_by_language": _shares(languages) if has_languages else "not measured: the source names no language"},
        "images": {
            "pixels_wide": quantiles([width for width, _ in sizes]),
            "pixels_high": quantiles([height for _, height in sizes]),
            "bytes": quantiles(encoded),
        },
        "duplicates": read_json(duplicates),
        "order_digest": subset["order_digest"],
    }
    write_json(root / "card.json", card)


def _sample(subset: Mapping[str, Any]) -> tuple[Sequence[int], set[int] | None]:
    """Pairs to measure, and which of them may be shown (None: any, the first ones).

    A subset of existing tars stands tar by tar, not in hash order: its sample is drawn, always the same one.
    """
    sampled = min(SAMPLE_PAIRS, subset["pairs"])
    if not subset.get("is_in_place") and not subset.get("is_copied"):
        return range(sampled), None
    drawn = np.random.default_rng(0).choice(subset["pairs"], sampled, replace=False).tolist()
    return sorted(drawn), set(drawn[: SHEET_SIDE**2])


def _language(members: Mapping[str, bytes]) -> str:
    """What a pair's list says of its caption's language; `unknown` where it says nothing."""
    listed = json.loads(members["json"]).get("listed", {}) if "json" in members else {}
    return str(listed.get("language") or "unknown")


def _shares(counts: Counter[str]) -> dict[str, float]:
    """The twelve most frequent, by name of equal ones."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:12]
    return {name: round(count / counts.total(), 4) for name, count in ranked}


def caption_numbers(captions: list[str]) -> dict[str, Any]:
    """Lengths, how many captions are distinct, and the share of letters by script (`LATIN`, `CJK`, ...)."""
    scripts: Counter[str] = Counter()
    for letter, count in Counter("".join(captions)).items():
        if letter.isalpha():
            scripts[unicodedata.name(letter, "UNKNOWN").split()[0].split("-")[0]] += count
    letters = scripts.total()
    return {
        "characters": quantiles([len(caption) for caption in captions]),
        "words": quantiles([len(caption.split()) for caption in captions]),
        "distinct": len(set(captions)),
        "share_of_letters_by_script": {name: round(count / letters, 4) for name, count in scripts.most_common(8)},
    }


def quantiles(values: list[int]) -> dict[str, int] | None:
    """Least, 5 %, median, 95 % and greatest, each a value that occurs; None of nothing."""
    if not values:
        return None
    found = np.quantile(values, (0, 0.05, 0.5, 0.95, 1), method="inverted_cdf")
    return dict(zip(("least", "p5", "median", "p95", "greatest"), map(int, found), strict=True))


def save_sheet(path: Path, pictures: list[Image.Image]) -> None:
    """The pictures side by side, each within its square on white, as a PNG with a palette."""
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
