"""All sets of a suite on one checkpoint: the model is loaded once, and each image and prompt is encoded once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from ..errors import EvaluationError
from ..models.build import build_model, load_checkpoint, with_weights
from ..models.preprocess import Preprocess
from ..models.tokenizer import load_tokenizer
from ..records.files import canonical_json, read_json, sha256_file, verify_files
from ..study.config.evaluation import Aggregate, LinearProbes, probe_name
from ..train.state import read_state
from .encode import Features, ImageBatch, KeptImages, Tokenizer, encode_classes, encode_set, read_batches
from .metrics import (
    CLASSIFICATION,
    MULTILABEL,
    RETRIEVAL,
    Measured,
    classification,
    contrastive_loss,
    mean_of,
    multilabel,
    probe,
    retrieval,
)
from .probe import probe_accuracy
from .store import Store

log = logging.getLogger(__name__)
CODE_VERSION = 2
"""Moves when the meaning of features or metrics changes: what was stored before is then computed anew."""


@dataclass(frozen=True)
class Protocol:
    """What is asked of every set. probes: shots by dataset. on_unreadable: "error", or "skip" and count."""

    batch_size: int = 256
    loss_batch_size: int = 250
    probes: dict[str, list[int | str]] | None = None
    linear_probe: LinearProbes = LinearProbes()
    aggregates: Sequence[Aggregate] = ()
    on_unreadable: str = "error"


def protocol_of(suite: dict[str, Any], batch_size: int, loss_batch_size: int) -> Protocol:
    """From what scripts are given as JSON: {"probes", "linear_probe", "aggregates", "on_unreadable"}, each optional."""
    return Protocol(
        batch_size=batch_size,
        loss_batch_size=loss_batch_size,
        probes=suite.get("probes"),
        linear_probe=LinearProbes.model_validate(suite.get("linear_probe", {})),
        aggregates=[Aggregate.model_validate(mean) for mean in suite.get("aggregates", [])],
        on_unreadable=suite.get("on_unreadable", "error"),
    )


@dataclass(frozen=True)
class Encoder:
    """A trained model with what it needs to encode, and what identifies it in the store.

    forward: the precision of a forward pass, fp32 by default.
    """

    model: Any
    tokenizer: Tokenizer
    preprocess: Preprocess
    device: torch.device
    identity: dict[str, Any]
    forward: Callable[[], AbstractContextManager[None]] = nullcontext


@dataclass(frozen=True)
class EvaluationSet:
    """A set on disk whose files are those of its manifest. digest: of the files' hashes. kept: its images."""

    manifest: dict[str, Any]
    folder: Path
    digest: str
    kept: KeptImages | None = None

    @property
    def name(self) -> str:
        """Its name in the suite."""
        return str(self.manifest["dataset"])


def open_set(manifest_path: Path, kept: KeptImages | None = None) -> EvaluationSet:
    """Hold a set's files against its manifest, by size and hash. ManifestError where one differs."""
    manifest = read_json(manifest_path)
    folder = Path(manifest.get("folder", manifest_path.parent))
    verify_files(manifest["files"], folder, f"Delete {manifest_path} and run `snakemake --cores all {manifest_path}`.")
    return EvaluationSet(manifest, folder, hashlib.sha256(canonical_json(manifest["files"]).encode()).hexdigest(), kept)


def evaluate_checkpoint(
    checkpoint: Path, manifests: list[Path], merges: Path, protocol: Protocol, store: Store | None = None
) -> tuple[list[Measured], dict[str, Any]]:
    """Every metric of every set, and the checkpoint's `about`. A model that diverged is not measured: no metrics.

    manifests: of the evaluation sets; their files are verified by size and hash.
    merges: the tokenizer's file, which must be the one that the checkpoint was trained with.
    """
    encoder, about = load_cell(checkpoint, merges)
    if encoder is None:
        return [], about
    return evaluate_sets(encoder, about["cell"], [open_set(path) for path in manifests], protocol, store), about


def load_cell(checkpoint: Path, merges: Path) -> tuple[Encoder | None, dict[str, Any]]:
    """The model of a cell, ready to encode, and its `about`; no model where it diverged in training."""
    model, about = load_checkpoint(checkpoint)
    if about.get("state") == "diverged":
        log.info(f"{about['cell']} diverged in training: it is not evaluated")
        return None, about
    tokenizer_sha256 = sha256_file(merges)
    if tokenizer_sha256 != about["tokenizer_sha256"]:
        raise EvaluationError(f"{checkpoint}: trained with another tokenizer than {merges}. Train the cell again.")
    return make_encoder(model, about["model_config"], merges, sha256_file(checkpoint)), about


def load_state(path: Path, merges: Path, model_config: dict[str, Any]) -> tuple[Encoder | None, dict[str, Any]]:
    """The model of a state saved in training, or of a trunk's branch point, and {"step", "state"}.

    model_config: that of the checkpoint which the run ends with. No model where the run had diverged.
    EvaluationError where the model does not fit the weights.
    """
    content = read_state(path)
    if not {"model", "progress"} <= content.keys():
        raise EvaluationError(f"{path}: not a saved state of training. Name a step-*.pt or a trunk's state.pt.")
    about = {"step": content["progress"]["step"], "state": "diverged" if content.get("is_diverged") else "saved"}
    if about["state"] == "diverged":
        log.info(f"{path}: the run diverged before: it is not evaluated")
        return None, about
    model = with_weights(build_model(model_config), content["model"], path)
    return make_encoder(model, model_config, merges, sha256_file(path)), about


def make_encoder(model: Any, model_config: dict[str, Any], merges: Path, checkpoint_sha256: str) -> Encoder:
    """An encoder of a model that was trained here."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Encoder(
        model.to(device),
        load_tokenizer(merges, model_config["text_cfg"].get("context_length", 77)),
        Preprocess(model_config["vision_cfg"].get("image_size", 224)),
        device,
        {"checkpoint_sha256": checkpoint_sha256, "tokenizer_sha256": sha256_file(merges), "precision": "fp32"},
    )


def evaluate_sets(
    encoder: Encoder, name: str, sets: Sequence[EvaluationSet], protocol: Protocol, store: Store | None = None
) -> list[Measured]:
    """Every metric of every set, one set in memory at a time. name: of the checkpoint, for the log."""
    rows: list[Measured] = []
    for found in sets:
        measured = measure_set(encoder, found, protocol, store)
        log.info(f"{name} {found.name} " + " ".join(f"{row.metric}={row.value:.4f}" for row in measured))
        rows += measured
    return rows + _aggregates(rows, protocol.aggregates)


def base_key(encoder: Encoder, found: EvaluationSet, protocol: Protocol) -> dict[str, Any]:
    """What features and scores of a set follow from, whatever is measured."""
    return encoder.identity | {
        "code_version": CODE_VERSION,
        "preprocess": encoder.preprocess.fields(),
        "dataset_digest": found.digest,
        "batch_size": protocol.batch_size,
        "on_unreadable": protocol.on_unreadable,
    }


def features_of(
    encoder: Encoder, found: EvaluationSet, protocol: Protocol, store: Store | None, split: str = "test"
) -> Features:
    """The features of a split: from the store where they were made before."""

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
        batches = found.kept.batches(key, read) if found.kept else read()
        return encode_set(
            encoder.model, encoder.tokenizer, batches, encoder.device, encoder.forward, encoder.preprocess.normalise
        )

    return store.features(base_key(encoder, found, protocol) | {"split": split}, make) if store else make()


def measure_set(encoder: Encoder, found: EvaluationSet, protocol: Protocol, store: Store | None) -> list[Measured]:
    """Every metric of one set and its probes: from the store where they were measured before."""
    manifest, name, base = found.manifest, found.name, base_key(encoder, found, protocol)

    @cache
    def features_in(split: str) -> Features:
        return features_of(encoder, found, protocol, store, split)

    def zeroshot() -> list[dict[str, Any]]:
        features = features_in("test")
        rows = measure(encoder, manifest, features, protocol.loss_batch_size)
        return [row.as_dict() | {"skipped": int(features.skipped)} for row in rows]

    key = base | {"prompts": [manifest["classes"], manifest["templates"]], "loss_batch_size": protocol.loss_batch_size}
    rows = store.scores(key | {"task": manifest["task"]}, zeroshot) if store else zeroshot()
    for shots in (protocol.probes or {}).get(name, []):

        def linear_probe(shots: int | str = shots) -> list[dict[str, Any]]:
            train, test = features_in("train"), features_in("test")
            value, spread, chosen = probe_accuracy(
                (train.images, train.labels),
                (test.images, test.labels),
                len(manifest["classes"]),
                shots,
                protocol.linear_probe,
            )
            log.info(f"{probe_name(name, shots)} acc1={value:.4f} chosen: {'; '.join(map(str, chosen))}")
            row = probe(probe_name(name, shots), value, spread, len(chosen), len(test.labels))
            return [row.as_dict() | {"skipped": int(train.skipped + test.skipped)}]

        key = base | {"task": "linear_probe", "shots": shots, "settings": protocol.linear_probe.model_dump()}
        rows = rows + (store.scores(key, linear_probe) if store else linear_probe())
    return [Measured(**row) for row in rows]


def measure(encoder: Encoder, manifest: dict[str, Any], features: Features, loss_batch_size: int) -> list[Measured]:
    """Every zero-shot metric of a set's features. EvaluationError: unknown task, or a class that has no name."""
    name, task = manifest["dataset"], manifest["task"]
    if task == RETRIEVAL:
        scale = encoder.model.logit_scale.exp().item()
        return [*retrieval(name, features), contrastive_loss(name, features, scale, loss_batch_size)]
    if task not in (CLASSIFICATION, MULTILABEL):
        raise EvaluationError(f"{name}: unknown task {task!r}. Prepare the set again.")
    classes, templates = manifest["classes"], manifest["templates"]
    most = int(features.labels.max()) + 1 if task == CLASSIFICATION else features.labels.shape[1]
    if most > len(classes):
        raise EvaluationError(
            f"{name}: labels of {most} classes, but {len(classes)} class names. Prepare the set again."
        )
    weights = encode_classes(encoder.model, encoder.tokenizer, classes, templates, encoder.device, encoder.forward)
    if task == MULTILABEL:
        return [multilabel(name, features, weights)]
    return classification(name, features, weights)


def _aggregates(rows: list[Measured], aggregates: Sequence[Aggregate]) -> list[Measured]:
    """The means that the suite asks for."""
    found = {(row.dataset, row.metric): row for row in rows}
    means = []
    for mean in aggregates:
        missing = [name for name in mean.of if (name, mean.metric) not in found]
        if missing:
            raise EvaluationError(f"aggregate {mean.dataset}: {mean.metric} was not measured on {', '.join(missing)}.")
        means.append(mean_of(mean.dataset, mean.metric, [found[name, mean.metric] for name in mean.of]))
    return means
