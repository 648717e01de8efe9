"""Exact short counts: 3K = 3,000, 80M = 80,000,000, 12.8B = 12,800,000,000."""

from __future__ import annotations

import re
from decimal import Decimal

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9}
COUNT_PATTERN = r"[0-9]+(?:\.[0-9]+)?[KMB]?"


def parse_count(text: str | int) -> int:
    """`"12.8B"` -> 12800000000. ValueError where the text is no whole positive count."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([KMB]?)", str(text).strip())
    if not match:
        raise ValueError(f"{text!r} is not a count. Write a whole number, or one like 50K, 80M, 12.8B")
    value = Decimal(match[1]) * _UNITS[match[2]]
    if value != value.to_integral_value() or value <= 0:
        raise ValueError(f"{text!r} is not a whole positive count")
    return int(value)


def format_count(value: int) -> str:
    """12800000000 -> `"12.8B"`: the shortest exact form in the largest unit that fits."""
    unit = next(u for u in ("B", "M", "K", "") if value >= _UNITS[u] or u == "")
    number = Decimal(value) / _UNITS[unit]
    return f"{number:f}{unit}"
