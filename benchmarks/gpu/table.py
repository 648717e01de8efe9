"""The results of run.py against what is aimed at, as a table."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

Rows = dict[str, dict[str, Any]]


def value(name: str, key: str = "samples_per_s") -> Callable[[Rows], float]:
    """A number of one measurement."""
    return lambda rows: float(rows[name][key])


def ratio(name: str, other: str, key: str = "samples_per_s") -> Callable[[Rows], float]:
    """A number over the same of another measurement."""
    return lambda rows: float(rows[name][key]) / float(rows[other][key])


def best(name: str, key: str = "samples_per_s") -> Callable[[Rows], float]:
    """The better of a cell and its compiled form over the compiled bare loop."""
    return lambda rows: (
        max(float(rows[one][key]) for one in (name, f"{name}-compiled") if key in rows.get(one, {}))
        / (float(rows[f"{name}-bare-compiled"][key]))
    )


def one_hash(rows: Rows) -> float:
    """Share of the groups whose weights have one hash."""
    groups = [row["hashes"] for name, row in rows.items() if name.startswith("exact-") and "hashes" in row]
    return sum(count == 1 for count in groups) / len(groups)


LINES: Sequence[tuple[str, str, Callable[[Rows], float], float]] = (
    ("base model, packed, over the compiled bare loop", ">=", best("base"), 1.3),
    ("base model, packed, samples/s", ">=", value("base"), 8000),
    ("ViT-B-16, packed, samples/s", ">=", value("middle"), 3000),
    ("ViT-L-14, packed, samples/s", ">=", value("large"), 750),
    ("base model, packed, over a resident batch", ">=", ratio("base", "base-resident"), 0.95),
    ("ViT-L-14, packed, over a resident batch", ">=", ratio("large", "large-resident"), 0.95),
    ("crops, over packed without", ">=", ratio("base-crops", "base"), 0.95),
    ("streamed, over open_clip_train", ">=", ratio("streamed", "streamed-peer"), 2.0),
    ("streamed, over decoding alone", ">=", ratio("streamed", "decoding"), 0.9),
    ("small model, batch 128, samples/s", ">=", value("small"), 60_000),
    ("accumulated batch, peak GB", "<=", value("accumulated", "peak_gb"), 80),
    ("offline study, seconds", "<=", value("offline", "seconds"), 20),
    ("groups with one hash, share", ">=", one_hash, 1.0),
    ("exact, over kernels that torch chooses", ">=", ratio("base", "exact-cost"), 0.95),
    ("evaluation, over clip-benchmark's CLI", ">=", ratio("evaluation", "evaluation-peer", "images_per_s"), 2.5),
    ("50,000 images, over the CLI", ">=", ratio("evaluation-many", "evaluation-many-peer", "images_per_s"), 2.0),
    (
        "50,000 images, over decoding alone",
        ">=",
        ratio("evaluation-many", "evaluation-many-decoding", "images_per_s"),
        0.85,
    ),
    ("probe sweep, over one CPU thread", ">=", ratio("probe", "probe-cpu", "rate"), 20.0),
)


def print_table(results: Sequence[dict[str, Any]]) -> None:
    """One line a goal; a line without its measurements says so."""
    rows = {row["name"]: row for row in results if "error" not in row}
    print(f"\n{'work':52s} {'reached':>10s}   goal")
    for title, relation, reached, goal in LINES:
        try:
            found = f"{reached(rows):10.3g}"
        except (KeyError, ValueError, ZeroDivisionError, TypeError):
            found = "         -"
        print(f"{title:52s} {found}   {relation} {goal:g}")
    failed = [row for row in results if "error" in row and row["name"] not in rows]
    for row in failed:
        print(f"{row['name']}: {row['error']}")
