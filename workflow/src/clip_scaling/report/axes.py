"""Logarithmic axes with plain labels, also where the range is less than a decade."""

from __future__ import annotations

import math

from matplotlib.axis import Axis
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, LogLocator, NullFormatter

from .labels import short_count

_STEPS = (
    (1.0,),
    (1.0, 3.0),
    (1.0, 2.0, 5.0),
    (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    tuple(float(n) for n in range(1, 10)),
    tuple(1 + n / 2 for n in range(18)),
    tuple(1 + n / 5 for n in range(45)),
    tuple(1 + n / 10 for n in range(90)),
    tuple(1 + n / 20 for n in range(180)),
)


def log_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """The coarsest round values that give at least `wanted` ticks in [low, high]; the finest where none does.

    log_ticks(0.2, 0.6) -> [0.2, 0.3, 0.4, 0.5, 0.6].
    """
    if not 0 < low < high:
        raise ValueError(f"a logarithmic axis needs 0 < low < high, got {low!r} and {high!r}")
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    slack = 1e-9
    found: list[float] = []
    for steps in _STEPS:
        # Rounded through text: 3 x 0.1 must be labelled 0.3.
        found = [float(f"{step * 10.0**decade:.6g}") for decade in decades for step in steps]
        found = [tick for tick in found if low * (1 - slack) <= tick <= high * (1 + slack)]
        if len(found) >= wanted:
            break
    return found


def plain_log_axis(axis: Axis, low: float, high: float, wanted: int = 4) -> None:
    """Label a log axis with plain numbers (errors, losses), `wanted` or more of them. low, high: the axis' limits."""
    ticks = log_ticks(low, high, wanted)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_major_formatter(FixedFormatter([f"{tick:g}" for tick in ticks]))
    axis.set_minor_formatter(NullFormatter())
    axis.set_minor_locator(FixedLocator([]))


def power_log_axis(axis: Axis, low: float, high: float) -> None:
    """Label a log axis with powers of ten (compute), plain where all is small; 2 and 5 times each below two decades."""
    decades = math.log10(high / low)
    subs = (1.0,) if decades > 2 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(10, subs=subs, numticks=12))
    small = low >= 1e-2 and high < 1e4
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if small else power_text(value)))
    axis.set_minor_locator(LogLocator(10, subs=tuple(range(2, 10)), numticks=12))
    axis.set_minor_formatter(NullFormatter())


def count_log_axis(axis: Axis, values: list[float]) -> None:
    """Label a log axis at these counts, as `20K`, `13B`."""
    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(FixedFormatter([short_count(value) for value in values]))
    axis.set_minor_locator(FixedLocator([]))


def power_text(value: float) -> str:
    """1e11 -> `$10^{11}$`, 2e11 -> `$2×10^{11}$`."""
    exponent = math.floor(math.log10(value) + 1e-9)
    mantissa = value / 10.0**exponent
    head = "" if abs(mantissa - 1) < 1e-6 else rf"{mantissa:g}\times"
    return rf"${head}10^{{{exponent}}}$"
