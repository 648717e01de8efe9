"""All sets of a suite on one checkpoint: the model is loaded once, and each image and prompt is encoded once."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from ..data.evaluation_sets.read import EvaluationSet, ImageBatch, KeptImages, read_batches
from ..errors import EvaluationError
from ..models.encode import Encoder
from ..records.evaluation import Measured
from ..study.config.evaluation import Aggregate, LinearProbes, probe_name
from .features import Features, encode_set
from .measure import mean_of, measure, probe
from .probe import probe_accuracy
from .store import Store

log = logging.getLogger(__name__)
CODE_VERSION = 2
"""Rises when the meaning of features or metrics changes, so that stored ones are computed again."""


@dataclass(frozen=True)
class Protocol:
    """Settings of an evaluation. probes: shots by dataset. on_unreadable: "error", or "skip" and count."""

    batch_size: int = 256
    loss_batch_size: int = 250
    probes: dict[str, list[int | str]] | None = None
    linear_probe: LinearProbes = LinearProbes()
    aggregates: Sequence[Aggregate] = ()
    on_unreadable: str = "error"


def protocol_of(suite: dict[str, Any], batch_size: int, loss_batch_size: int) -> Protocol:
    """Parse a script's JSON: {"probes", "linear_probe", "aggregates", "on_unreadable"}, each optional."""
    return Protocol(
        batch_size=batch_size,
        loss_batch_size=loss_batch_size,
        probes=suite.get("probes"),
        linear_probe=LinearProbes.model_validate(suite.get("linear_probe", {})),
        aggregates=[Aggregate.model_validate(mean) for mean in suite.get("aggregates", [])],
        on_unreadable=suite.get("on_unreadable", "error"),
    )


@dataclass(frozen=True)
class SuiteEvaluator:
    """Measure checkpoints on all sets of a suite, one set in memory at a time.

    store: features and scores of before. kept: images for the next checkpoint.
    """

    sets: Sequence[EvaluationSet]
    protocol: Protocol
    store: Store = Store(None)
    kept: KeptImages | None = None

    def run(self, encoder: Encoder, name: str) -> list[Measured]:
        """Measure every metric of every set, and the means that the suite asks for. name: of the checkpoint."""
        rows: list[Measured] = []
        for found in self.sets:
            measured = self._measure_set(encoder, found)
            log.info(f"{name} {found.name} " + " ".join(f"{row.metric}={row.value:.4f}" for row in measured))
            rows += measured
        return rows + _aggregates(rows, self.protocol.aggregates)

    def features(self, encoder: Encoder, found: EvaluationSet, split: str = "test") -> Features:
        """Encode a split, or take its features from the store."""
        protocol = self.protocol

        def read() -> Iterator[ImageBatch]:
            return read_batches(
                found.folder,
                encoder.preprocess,
                protocol.batch_size,
                split=split,
                on_unreadable=protocol.on_unreadable,
            )

        def make() -> Features:
            key = (found.folder, split, encoder.preprocess, protocol.batch_size, protocol.on_unreadable)
            return encode_set(encoder, self.kept.batches(key, read) if self.kept else read())

        return self.store.features(self._key(encoder, found) | {"split": split}, make)

    def _key(self, encoder: Encoder, found: EvaluationSet) -> dict[str, Any]:
        """All that features and scores of a set depend on, whatever is measured."""
        return encoder.identity | {
            "code_version": CODE_VERSION,
            "preprocess": encoder.preprocess.fields(),
            "dataset_digest": found.digest,
            "batch_size": self.protocol.batch_size,
            "on_unreadable": self.protocol.on_unreadable,
        }

    def _measure_set(self, encoder: Encoder, found: EvaluationSet) -> list[Measured]:
        """Measure a set and its probes, or take their scores from the store."""
        manifest, protocol, key = found.manifest, self.protocol, self._key(encoder, found)

        @cache
        def features(split: str) -> Features:
            return self.features(encoder, found, split)

        def zeroshot() -> list[Measured]:
            test = features("test")
            return _with_skipped(measure(encoder, manifest, test, protocol.loss_batch_size), test)

        prompts = {"prompts": [manifest.classes, manifest.templates], "task": manifest.task}
        rows = self.store.scores(key | prompts | {"loss_batch_size": protocol.loss_batch_size}, zeroshot)
        for shots in (protocol.probes or {}).get(found.name, []):

            def linear_probe(shots: int | str = shots) -> list[Measured]:
                return self._probe(found, shots, features("train"), features("test"))

            settings = {"task": "linear_probe", "shots": shots, "settings": protocol.linear_probe.model_dump()}
            rows = rows + self.store.scores(key | settings, linear_probe)
        return rows

    def _probe(self, found: EvaluationSet, shots: int | str, train: Features, test: Features) -> list[Measured]:
        value, spread, chosen = probe_accuracy(
            (train.images, train.labels),
            (test.images, test.labels),
            len(found.manifest.classes),
            shots,
            self.protocol.linear_probe,
        )
        name = probe_name(found.name, shots)
        log.info(f"{name} acc1={value:.4f} chosen: {'; '.join(map(str, chosen))}")
        return _with_skipped([probe(name, value, spread, len(chosen), len(test.labels))], train, test)


def _with_skipped(rows: list[Measured], *splits: Features) -> list[Measured]:
    skipped = sum(int(features.skipped) for features in splits)
    return [row.model_copy(update={"skipped": skipped}) for row in rows]


def _aggregates(rows: list[Measured], aggregates: Sequence[Aggregate]) -> list[Measured]:
    """Take the means that the suite asks for."""
    found = {(row.dataset, row.metric): row for row in rows}
    means = []
    for mean in aggregates:
        missing = [name for name in mean.of if (name, mean.metric) not in found]
        if missing:
            raise EvaluationError(
                f"{mean.metric} was not measured on {', '.join(missing)}", place=f"aggregate {mean.dataset}"
            )
        means.append(mean_of(mean.dataset, mean.metric, [found[name, mean.metric] for name in mean.of]))
    return means
