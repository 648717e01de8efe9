"""All sets of a suite on one checkpoint: the model is loaded once, and each image and prompt is encoded once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from ..data.evaluation_sets.parallel import Decoding, decoded_batches
from ..data.evaluation_sets.read import EvaluationSet, ImageBatch, KeptImages
from ..errors import EvaluationError
from ..models.encode import Encoder
from ..models.precision import tf32
from ..records.evaluation import Measured
from ..study.config.evaluation import Aggregate, LinearProbes, probe_name
from .ahead import ahead
from .blocks import Blocks
from .cut import MEASURE
from .features import Features, encode_set
from .measure import mean_of, measure, probe
from .pieces import Examples
from .probe import probe_accuracy
from .store import Store

log = logging.getLogger(__name__)
CODE_VERSION = 2
"""Rises when the meaning of features or metrics changes, so that stored ones are computed again."""


@dataclass(frozen=True)
class Protocol:
    """Settings of an evaluation. probes: shots by dataset. on_unreadable: "error", or "skip" and count.

    precision: number format of the encoder, as in `evaluation.precision`.
    """

    batch_size: int = 256
    loss_batch_size: int = 250
    probes: dict[str, list[int | str]] | None = None
    linear_probe: LinearProbes = LinearProbes()
    aggregates: Sequence[Aggregate] = ()
    on_unreadable: str = "error"
    precision: str = "fp32"


def protocol_of(suite: dict[str, Any], batch_size: int, loss_batch_size: int) -> Protocol:
    """Parse a script's JSON: {"probes", "linear_probe", "aggregates", "on_unreadable", "precision"}, each optional."""
    return Protocol(
        batch_size=batch_size,
        loss_batch_size=loss_batch_size,
        probes=suite.get("probes"),
        linear_probe=LinearProbes.model_validate(suite.get("linear_probe", {})),
        aggregates=[Aggregate.model_validate(mean) for mean in suite.get("aggregates", [])],
        on_unreadable=suite.get("on_unreadable", "error"),
        precision=suite.get("precision", "fp32"),
    )


class Stopped(Exception):
    """A signal asked the evaluation to leave. What was encoded and measured is in the store."""


def _never() -> bool:
    return False


@dataclass(frozen=True)
class SuiteEvaluator:
    """Measure checkpoints on all sets of a suite, one set in memory at a time.

    store: features and scores of before. kept: images for the next checkpoint. is_stopped: asked after every batch and
    every probe; where it says yes, `Stopped` is raised. seconds: by set, of each split and of MEASURE; filled by `run`.
    workers: processes that decode images; 0: this one.
    """

    sets: Sequence[EvaluationSet]
    protocol: Protocol
    store: Store = field(default_factory=lambda: Store(None))
    kept: KeptImages | None = None
    is_stopped: Callable[[], bool] = _never
    seconds: dict[str, dict[str, float]] = field(default_factory=dict)
    workers: int = 0

    def run(self, encoder: Encoder, name: str) -> list[Measured]:
        """Measure every metric of every set, and the means that the suite asks for. name: of the checkpoint."""
        rows: list[Measured] = []
        for found in self.sets:
            measured = self.measure_set(encoder, found)
            log.info(f"{name} {found.name} " + " ".join(f"{row.metric}={row.value:.4f}" for row in measured))
            rows += measured
        self.store.prune()
        return rows + _aggregates(rows, self.protocol.aggregates)

    def features(self, encoder: Encoder, found: EvaluationSet, split: str = "test") -> Features:
        """Encode a split, or take its features from the store."""
        encoder = encoder.in_precision(self.protocol.precision)
        blocks = self.blocks(encoder, found, split)
        features = self.store.features(blocks.key, blocks.whole, split)
        blocks.drop(len(features.images))
        return features

    def blocks(self, encoder: Encoder, found: EvaluationSet, split: str) -> Blocks:
        """The blocks in which a split is encoded."""
        protocol = self.protocol

        def read(begin: int) -> Iterator[ImageBatch]:
            def batches() -> Generator[ImageBatch]:
                is_for_gpu = encoder.device.type == "cuda"
                how = Decoding(protocol.batch_size, self.workers, protocol.on_unreadable, is_for_gpu)
                return decoded_batches(found.folder, encoder.preprocess, how, split, begin)

            key = (found.folder, split, encoder.preprocess, protocol.batch_size, protocol.on_unreadable, begin)
            images = self.kept.batches(key, batches) if self.kept else batches()
            return self._until_stopped(ahead(images, encoder.device))

        def encode(batches: Iterator[ImageBatch]) -> Features:
            features = encode_set(encoder, batches)
            found.require_unchanged()  # before anything is kept
            return features

        return Blocks(self.store, self._key(encoder, found) | {"split": split}, protocol.batch_size, read, encode)

    def _until_stopped(self, batches: Generator[ImageBatch]) -> Iterator[ImageBatch]:
        with closing(batches):  # at once: an error keeps the frames of whoever reads, and so their workers
            for batch in batches:
                yield batch
                self.leave_if_stopped()

    def leave_if_stopped(self) -> None:
        """Raise `Stopped` where a signal has come."""
        if self.is_stopped():
            raise Stopped

    def _key(self, encoder: Encoder, found: EvaluationSet) -> dict[str, Any]:
        """All that features and scores of a set depend on, whatever is measured."""
        return encoder.identity | {
            "code_version": CODE_VERSION,
            "preprocess": encoder.preprocess.fields(),
            "dataset_digest": found.digest,
            "batch_size": self.protocol.batch_size,
            "on_unreadable": self.protocol.on_unreadable,
        }

    def measure_set(self, encoder: Encoder, found: EvaluationSet) -> list[Measured]:
        """Measure a set and its probes, or take their scores from the store."""
        encoder = encoder.in_precision(self.protocol.precision)
        manifest, protocol, key = found.manifest, self.protocol, self._key(encoder, found)
        self.store.spent.clear()

        @cache
        def features(split: str) -> Features:
            return self.features(encoder, found, split)

        def zeroshot() -> list[Measured]:
            test = features("test")
            return self._noted(measure(encoder, manifest, test, protocol.loss_batch_size), test)

        prompts = {"prompts": [manifest.classes, manifest.templates], "task": manifest.task}
        rows = self.store.scores(key | prompts | {"loss_batch_size": protocol.loss_batch_size}, zeroshot, MEASURE)
        for shots in (protocol.probes or {}).get(found.name, []):

            def linear_probe(shots: int | str = shots) -> list[Measured]:
                splits = features("train"), features("test")
                return self._probe(found, shots, *splits, encoder.device)

            settings = {"task": "linear_probe", "shots": shots, "settings": protocol.linear_probe.model_dump()}
            rows = rows + self.store.scores(key | settings, linear_probe, MEASURE)
            self.leave_if_stopped()
        self.seconds[found.name] = {label: round(seconds, 3) for label, seconds in self.store.spent.items()}
        return rows

    def _probe(
        self, found: EvaluationSet, shots: int | str, train: Features, test: Features, device: torch.device
    ) -> list[Measured]:
        learned, asked = (Examples(features.images, features.labels).on(device) for features in (train, test))
        with tf32(False):
            value, spread, chosen = probe_accuracy(
                learned, asked, len(found.manifest.classes), shots, self.protocol.linear_probe
            )
        name = probe_name(found.name, shots)
        log.info(f"{name} acc1={value:.4f} chosen: {'; '.join(map(str, chosen))}")
        return self._noted([probe(name, value, spread, len(chosen), len(test.labels))], train, test)

    def _noted(self, rows: list[Measured], *splits: Features) -> list[Measured]:
        """Say with each metric what it was measured from."""
        how: dict[str, Any] = {"skipped": sum(int(features.skipped) for features in splits)}
        halved = [int(features.halved_to) for features in splits if int(features.halved_to)]
        how |= {"precision": self.protocol.precision} | ({"halved_to": min(halved)} if halved else {})
        return [row.model_copy(update=how) for row in rows]


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
        of = [found[name, mean.metric] for name in mean.of]
        formats = {row.precision for row in of}
        own = {"precision": formats.pop() if len(formats) == 1 else None}
        means.append(mean_of(mean.dataset, mean.metric, of).model_copy(update=own))
    return means
