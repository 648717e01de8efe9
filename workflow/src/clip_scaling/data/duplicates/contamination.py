"""Evaluation images that training saw: equal perceptual hashes, as in section 2.6 of Cherti et al. 2022."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from PIL import Image

from ...errors import DataError
from ...evaluate.features import Features
from ...evaluate.measure import measure
from ...evaluate.store import Store
from ...evaluate.suite import Protocol, SuiteEvaluator
from ...models.encode import Encoder
from ...records.evaluation import Measured
from ...records.files import read_json
from ..evaluation_sets.read import EvaluationSet, read_samples
from ..shards.packed import open_packed
from ..shards.read import IMAGE_EXTENSIONS, PairReader, UnreadablePair, decode_image
from ..shards.verify import verify_shards
from .hash import Hashes, perceptual_hashes


def training_hashes(manifest: Path) -> Hashes:
    """Distinct hashes of the images that a subset's tars or packed pairs hold. DataError where it is neither."""
    about = read_json(manifest)
    if about.get("kind") == "packed":
        images: Iterator[Image.Image] = (Image.fromarray(pixels) for pixels in open_packed(manifest).pixels)
    elif about.get("kind") == "subset":
        remedy = f"Delete {manifest} and run `snakemake --cores all {manifest}`."
        verify_shards(about["shards"], manifest.parent, "size", remedy)
        if about.get("is_in_place"):  # its tars hold other pairs too, those held out among them
            images = _listed_images(manifest)
        else:
            images = _images_of([manifest.parent / entry["path"] for entry in about["shards"]])
    else:
        raise DataError(f"{manifest}: neither a subset nor packed pairs. Name a data set's manifest.json.")
    return np.unique(perceptual_hashes(images))


def _images_of(shards: list[Path]) -> Iterator[Image.Image]:
    for sample in webdataset.WebDataset([str(path) for path in shards], shardshuffle=False, empty_check=False):
        yield decode_image(next(sample[kind] for kind in IMAGE_EXTENSIONS if kind in sample))


def _listed_images(manifest: Path) -> Iterator[Image.Image]:
    """Images of the pairs that a subset lists; unreadable ones are left out, as training leaves them out."""
    reader = PairReader(manifest)
    for number in range(reader.pairs):
        with suppress(UnreadablePair):
            yield decode_image(reader.read(number)[0])
    reader.close()


def overlapping_rows(found: EvaluationSet, training: Hashes, on_unreadable: str = "error") -> tuple[list[int], int]:
    """(rows of the test split whose hash is among the training images', number of images), in reading order."""
    samples = read_samples(found.folder, on_unreadable=on_unreadable)
    hashes = perceptual_hashes(sample.image for sample in samples if sample is not None)
    return np.flatnonzero(np.isin(hashes, training)).tolist(), len(hashes)


def without_rows(features: Features, rows: list[int]) -> Features:
    """The features without these images and their texts."""
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
    )


CONTAMINATION_COLUMNS = [
    "cell",
    "data",
    "dataset",
    "metric",
    "n",
    "overlapping",
    "overlap_share",
    "value",
    "value_without_overlap",
    "ci_low_without_overlap",
    "ci_high_without_overlap",
]
"""Of tables/contamination: one row a (cell, set, metric)."""


def contamination_rows(
    encoder: Encoder,
    about: dict[str, Any],
    found: EvaluationSet,
    rows: list[int],
    protocol: Protocol,
    store: Store = Store(None),  # noqa: B008
) -> list[dict[str, Any]]:
    """Every zero-shot metric of a set, and what it is with the overlapping images left out.

    about: `cell` and `data`. rows: of the overlapping images. A metric that nothing is left for stays empty; recall@k
    without them is also that of a smaller gallery.
    """
    features = SuiteEvaluator([found], protocol, store).features(encoder, found)
    n = len(features.images)
    usual = measure(encoder, found.manifest, features, protocol.loss_batch_size)
    clean: dict[str, Measured] = {}
    if 0 < len(rows) < n:
        kept = without_rows(features, rows)
        batch = min(protocol.loss_batch_size, len(kept.images))
        clean = {row.metric: row for row in measure(encoder, found.manifest, kept, batch)}
        if batch < protocol.loss_batch_size:  # a loss of smaller batches is another metric
            clean.pop("contrastive_loss", None)
    elif not rows:
        clean = {row.metric: row for row in usual}
    table = []
    for row in usual:
        other = clean.get(row.metric)
        table.append(
            about
            | {
                "dataset": found.name,
                "metric": row.metric,
                "n": n,
                "overlapping": len(rows),
                "overlap_share": len(rows) / n,
                "value": row.value,
                "value_without_overlap": other.value if other else None,
                "ci_low_without_overlap": other.ci_low if other else None,
                "ci_high_without_overlap": other.ci_high if other else None,
            }
        )
    return table
