"""Units of the columns of a table: compute and model size in GMAC, counts, and shares."""

from __future__ import annotations

import re

from ...errors import LawError
from .cells import COUNTS

# A FLOP count takes a multiply and an add for one MAC; training costs three forward passes (Kaplan et al. 2020).
PREFIXES = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18, "Z": 1e21}
UNITS = {f"{prefix}MAC": 1e-9 * PREFIXES[prefix] for prefix in ("", "M", "G", "T", "P", "E", "Z")}
UNITS |= {f"{prefix}FLOP": 0.5e-9 * PREFIXES[prefix] for prefix in PREFIXES if prefix != "K"}
# A dense model takes one MAC a parameter for a token.
SIZES = UNITS | {f"{prefix}parameters": 1e-9 * COUNTS[prefix] for prefix in ("", "M", "B")}
PASSES = {"forward": 1.0, "total": 1 / 3}
SHARES = {"fraction": 1.0, "%": 0.01}
_BY_COLUMN = {
    "compute_gmacs": UNITS,
    "gmacs_per_sample": SIZES,
    "samples_seen": COUNTS,
    "unique_pairs": COUNTS,
    "value": SHARES,
    "error": SHARES,
    "chance": SHARES,
}


def factor(column: str, unit: str) -> float:
    """What a number of this column (`GFLOP`, `FLOP/total`, `parameters`, `B`, `%`) is multiplied by.

    LawError for a column or a unit that is not known.
    """
    if column not in _BY_COLUMN:
        raise LawError(f"--unit {column}={unit}: units are of {', '.join(_BY_COLUMN)}.")
    known = _BY_COLUMN[column]
    name, _, passes = unit.partition("/")
    name = re.sub(r"(MAC|FLOP)s$", r"\1", name)
    if name not in known or (passes and (passes not in PASSES or known not in (UNITS, SIZES))):
        names = ", ".join(name for name in known if name)
        after = f", and after it /{' or /'.join(PASSES)}" if known in (UNITS, SIZES) else ""
        raise LawError(f"--unit {column}={unit}: {unit!r} is none of {names}{after}.")
    return known[name] * (PASSES[passes] if passes else 1.0)
