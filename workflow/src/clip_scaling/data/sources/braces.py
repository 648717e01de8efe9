"""Braces in the places of tars and lists: `{0000..0127}` and `{a,b}`, as a shell expands them."""

from __future__ import annotations

import math
import re

MOST = 1_000_000
"""Places that one pattern may stand for."""
_RANGE = re.compile(r"\{(-?\d+)\.\.(-?\d+)(?:\.\.(-?\d+))?\}")
_LETTERS = re.compile(r"\{([A-Za-z])\.\.([A-Za-z])\}")
_CHOICE = re.compile(r"\{([^{}]*,[^{}]*)\}")
_PLAIN_CHOICE = re.compile(r"\{([^{}\s$'\"]*,[^{}\s$'\"]*)\}")
"""A choice in a command: braces of awk and of shell functions hold blanks or variables."""


def expand_braces(text: str, *, is_command: bool = False) -> list[str]:
    """Expand ranges, which keep their leading zeros, and choices. ValueError, before anything is expanded, for a range
    that runs backwards and for too many places.
    """
    choice = _PLAIN_CHOICE if is_command else _CHOICE
    for match in (*_RANGE.finditer(text), *_LETTERS.finditer(text)):
        if len(_members(match)) == 0:
            first, last = match[1], match[2]
            raise ValueError(
                f"{match[0]} runs backwards: write {match[0].replace(f'{first}..{last}', f'{last}..{first}')}"
            )
    sizes = [len(_members(match)) for match in (*_RANGE.finditer(text), *_LETTERS.finditer(text))]
    sizes += [match[1].count(",") + 1 for match in choice.finditer(text)]
    if math.prod(sizes) > MOST:
        raise ValueError(f"{math.prod(sizes):,} places are more than {MOST:,}: correct the range")
    return _expanded(text, choice)


def _expanded(text: str, choice: re.Pattern[str]) -> list[str]:
    for pattern in (_RANGE, _LETTERS):
        if match := pattern.search(text):
            return [made for each in _named(match) for made in _expanded(_put(text, match, each), choice)]
    if match := choice.search(text):
        return [made for each in match[1].split(",") for made in _expanded(_put(text, match, each), choice)]
    return [text]


def _members(match: re.Match[str]) -> range:
    first, last = match[1], match[2]
    if match.re is _LETTERS:
        return range(ord(first), ord(last) + 1)
    step = abs(int(match[3] or 1)) or 1
    return range(int(first), int(last) + 1, step)


def _named(match: re.Match[str]) -> list[str]:
    if match.re is _LETTERS:
        return [chr(number) for number in _members(match)]
    width = len(match[1]) if match[1].startswith("0") else 0
    return [f"{number:0{width}d}" for number in _members(match)]


def _put(text: str, match: re.Match[str], value: str) -> str:
    return text[: match.start()] + value + text[match.end() :]
