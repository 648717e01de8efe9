"""Small records of data, for tests of what reads them."""

from __future__ import annotations

from typing import Any

from clip_scaling.records.data import (
    EvaluationSetManifest,
    SourceCounts,
    SourceManifest,
    SubsetCounts,
    SubsetManifest,
)


def source_manifest(**fields: Any) -> SourceManifest:
    """A source of 1,000 drawings, of which 700 are left for training."""
    counts = SourceCounts(parsed=1000, kept=700, held_out={"icons": 200}, dropped={"duplicate_pixels": 100})
    given: dict[str, Any] = {
        "name": "drawings",
        "recipe": {"kind": "procedural", "image_size": 32, "vocabulary_size": 4096},
        "pairs": 700,
        "counts": counts,
        "shards": [],
        "files": [],
        "held_out": {},
        "order_digest": "f" * 64,
    }
    return SourceManifest(**given | fields)


def subset_manifest(**fields: Any) -> SubsetManifest:
    """A subset of 500 drawings."""
    given: dict[str, Any] = {
        "name": "Few",
        "source": "drawings",
        "source_order_digest": "f" * 64,
        "pairs": 500,
        "counts": SubsetCounts(source=700, kept=500, left_in_source=200),
        "shards": [],
        "files": [],
        "order_digest": "a" * 64,
    }
    return SubsetManifest(**given | fields)


def evaluation_manifest(**fields: Any) -> EvaluationSetManifest:
    """A classification set of 200 drawings in two classes; `n=None` leaves their number out."""
    given: dict[str, Any] = {
        "dataset": "icons",
        "source": "drawings",
        "task": "zeroshot_classification",
        "n": 200,
        "classes": ["apple", "anchor"],
        "templates": ["{c}"],
        "files": [],
    }
    return EvaluationSetManifest(**{key: value for key, value in (given | fields).items() if value is not None})
