"""Metrics without the evaluation images that training saw: equal perceptual hashes, Cherti et al. 2022, section 2.6."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..data.duplicates.hash import Hashes, perceptual_hashes
from ..data.evaluation_sets.read import EvaluationSet, read_samples
from ..models.encode import Encoder
from ..records.evaluation import Measured
from .features import Features
from .measure import measure
from .suite import SuiteEvaluator


def overlapping_rows(found: EvaluationSet, training: Hashes, on_unreadable: str = "error") -> tuple[list[int], int]:
    """Find (rows of the test split whose hash is among the training images', number of images), in reading order.

    training: perceptual hashes of the training images, as fingerprints have them.
    """
    samples = read_samples(found.folder, on_unreadable=on_unreadable)
    hashes = perceptual_hashes(sample.image for sample in samples if sample is not None)
    return np.flatnonzero(np.isin(hashes, training)).tolist(), len(hashes)


def without_rows(features: Features, rows: list[int]) -> Features:
    """Leave out these images and their texts."""
    kept = torch.ones(len(features.images), dtype=torch.bool)
    kept[rows] = False
    place = kept.cumsum(0) - 1
    texts = kept[features.owners] if len(features.owners) else torch.zeros(0, dtype=torch.bool)
    return Features(
        features.images[kept],
        features.labels[kept] if len(features.labels) else features.labels,
        features.texts[texts] if len(features.owners) else features.texts,
        place[features.owners[texts]],
        features.skipped,
        features.halved_to,
    )


def contamination_rows(
    evaluator: SuiteEvaluator, encoder: Encoder, about: dict[str, Any], found: EvaluationSet, rows: list[int]
) -> list[dict[str, Any]]:
    """Measure every zero-shot metric of a set, with the overlapping images and without, as rows of CONTAMINATION_TABLE.

    about: `cell` and `data`. rows: of the overlapping images. A metric that nothing is left for stays empty; recall@k
    without them is also that of a smaller gallery.
    """
    features, loss_batch_size = evaluator.features(encoder, found), evaluator.protocol.loss_batch_size
    n = len(features.images)
    usual = measure(encoder, found.manifest, features, loss_batch_size)
    clean: dict[str, Measured] = {}
    if 0 < len(rows) < n:
        kept = without_rows(features, rows)
        batch = min(loss_batch_size, len(kept.images))
        clean = {row.metric: row for row in measure(encoder, found.manifest, kept, batch)}
        if batch < loss_batch_size:  # a loss of smaller batches is another metric
            clean.pop("contrastive_loss", None)
    elif not rows:
        clean = {row.metric: row for row in usual}
    overlap = {"n": n, "overlapping": len(rows), "overlap_share": len(rows) / n}
    table = []
    for row in usual:
        both = {"dataset": found.name, "metric": row.metric, "value": row.value}
        if other := clean.get(row.metric):
            both |= {f"{key}_without_overlap": getattr(other, key) for key in ("value", "ci_low", "ci_high")}
        table.append(about | overlap | both)
    return table
