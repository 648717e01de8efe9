"""From an icon's name to its caption: the concept without the drawing style."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

# Style words that sets use without declaring them. Words that are as often a concept ("light", "line",
# "bold", "circle") are stripped only where the set itself declares them as a suffix.
_STYLE_WORDS = frozenset(
    ["outline", "outlined", "filled", "fill", "solid", "duotone", "twotone", "rounded", "linear", "broken"]
)
_SIZE = re.compile(r"\d+(px)?")
_REGIONAL_A, _TAG_A = 0x1F1E6, 0xE0061


def caption_of(name: str, prefixes: Iterable[str] = (), suffixes: Iterable[str] = ()) -> str:
    """`home-6-filled` -> "home".

    name: an iconify name (lower case, words joined by "-").
    prefixes, suffixes: the set's own style affixes; the longest that fits is stripped once.
    Then trailing undeclared style words, sizes and numbers go. The last remaining word always stays.
    """
    for suffix in sorted(filter(None, suffixes), key=len, reverse=True):
        if name.endswith(f"-{suffix}"):
            name = name.removesuffix(f"-{suffix}")
            break
    for prefix in sorted(filter(None, prefixes), key=len, reverse=True):
        if name.startswith(f"{prefix}-"):
            name = name.removeprefix(f"{prefix}-")
            break
    words = [word for word in name.lower().replace("_", "-").split("-") if word]
    while len(words) > 1 and (words[-1] in _STYLE_WORDS or _SIZE.fullmatch(words[-1])):
        words.pop()
    if words:
        # home6 -> home, but mp3 and h1 stay: a short stem is no word of its own.
        words[-1] = re.sub(r"(?<=[a-z]{3})\d+$", "", words[-1])
    return " ".join(words)


def country_names(chars: Mapping[str, str]) -> dict[str, str]:
    """ISO 3166 codes from an emoji set's own table.

    chars: `{"1f1eb-1f1f7": "flag-france"}`, code points to icon names, as iconify's emoji sets carry.
    Returns: {"fr": "france", "gb-eng": "england"}: regional indicators spell two-letter codes, tag
    sequences spell subdivisions.
    """
    names = {}
    for sequence, name in chars.items():
        points = [int(point, 16) for point in sequence.split("-")]
        if len(points) == 2 and all(_REGIONAL_A <= point < _REGIONAL_A + 26 for point in points):
            code = "".join(chr(ord("a") + point - _REGIONAL_A) for point in points)
        elif points[0] == 0x1F3F4 and len(points) > 4 and all(_TAG_A <= point < _TAG_A + 26 for point in points[1:-1]):
            letters = "".join(chr(ord("a") + point - _TAG_A) for point in points[1:-1])
            code = f"{letters[:2]}-{letters[2:]}"
        else:
            continue
        names[code] = " ".join(word for word in name.split("-") if word != "flag")
    return names


def flag_caption(name: str, countries: Mapping[str, str], suffixes: Iterable[str] = ()) -> str | None:
    """Caption of an icon of a flag set: `fr-4x3` -> "flag france".

    Returns None where the name is a code without a known name, or carries one (`au-nsw`).
    """
    caption = caption_of(name, suffixes=suffixes)
    code, *rest = caption.split(" ")
    whole = caption.replace(" ", "-")
    if whole in countries:
        return f"flag {countries[whole]}"
    if code in countries and all(len(word) > 3 for word in rest):
        return " ".join(["flag", countries[code], *rest])
    if any(len(word) <= 3 for word in caption.split(" ")):
        return None
    return f"flag {caption}"


def is_flag_set(names: Iterable[str], countries: Mapping[str, str]) -> bool:
    """Whether most of a set's names begin with a country code."""
    codes = [name.split("-", 1)[0] in countries for name in names]
    return sum(codes) > len(codes) / 2
