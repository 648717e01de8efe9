"""All sets of a suite on one checkpoint: the model is loaded once, and each image and prompt is encoded once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..config import Aggregate, LinearProbes
from ..data.tokenizer import load_tokenizer
from ..errors import EvaluationError
from ..manifests import canonical_json, read_json, sha256_file, verify_files
from ..study import probe_name
from ..train.model import PREPROCESS, load_checkpoint
from .encode import Features, Tokenizer, encode_classes, encode_set, read_batches
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
CODE_VERSION = 1
"""Moves when the meaning of features or metrics changes: what was stored before is then computed anew."""


@dataclass(frozen=True)
class Protocol:
    """What is asked of every set. probes: shots by dataset."""

    batch_size: int = 256
    loss_batch_size: int = 250
    probes: dict[str, list[int | str]] | None = None
    linear_probe: LinearProbes = LinearProbes()
    aggregates: Sequence[Aggregate] = ()


@dataclass(frozen=True)
class Encoder:
    """A trained model with what it needs to encode, and what identifies it in the store."""

    model: Any
    tokenizer: Tokenizer
    image_size: int
    device: torch.device
    identity: dict[str, Any]


def evaluate_checkpoint(
    checkpoint: Path, manifests: list[Path], merges: Path, protocol: Protocol, store: Store | None = None
) -> tuple[list[Measured], dict[str, Any]]:
    """Every metric of every set, and the checkpoint's `about`. A model that diverged is not measured: no metrics.

    manifests: of the evaluation sets; their files are verified by size and hash.
    merges: the tokenizer's file, which must be the one that the checkpoint was trained with.
    """
    model, about = load_checkpoint(checkpoint)
    if about.get("state") == "diverged":
        log.info(f"{about['cell']} diverged in training: it is not evaluated")
        return [], about
    if sha256_file(merges) != about["tokenizer_sha256"]:
        raise EvaluationError(f"{checkpoint}: trained with another tokenizer than {merges}. Train the cell again.")
    config = about["model_config"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder = Encoder(
        model.to(device),
        load_tokenizer(merges, config["text_cfg"].get("context_length", 77)),
        config["vision_cfg"].get("image_size", 224),
        device,
        {
            "checkpoint_sha256": sha256_file(checkpoint),
            "tokenizer_sha256": about["tokenizer_sha256"],
            "preprocess": PREPROCESS,
            "precision": "fp32",
            "code_version": CODE_VERSION,
        },
    )
    rows: list[Measured] = []
    for path in manifests:
        found = measure_set(encoder, path, protocol, store)
        log.info(f"{about['cell']} {path.parent.name} " + " ".join(f"{row.metric}={row.value:.4f}" for row in found))
        rows += found
    return rows + _aggregates(rows, protocol.aggregates), about


def measure_set(encoder: Encoder, manifest_path: Path, protocol: Protocol, store: Store | None) -> list[Measured]:
    """Every metric of one set and its probes: from the store where they were measured before."""
    manifest = read_json(manifest_path)
    folder = Path(manifest.get("folder", manifest_path.parent))
    verify_files(manifest["files"], folder, f"Delete {manifest_path} and run `snakemake {manifest_path}`.")
    name, digest = manifest["dataset"], hashlib.sha256(canonical_json(manifest["files"]).encode()).hexdigest()
    base = encoder.identity | {"dataset_digest": digest, "image_size": encoder.image_size}

    def features(split: str) -> Features:
        def make() -> Features:
            batches = read_batches(folder, encoder.image_size, protocol.batch_size, split=split)
            return encode_set(encoder.model, encoder.tokenizer, batches, encoder.device)

        key = base | {"split": split, "batch_size": protocol.batch_size}
        return store.features(key, make) if store else make()

    def zeroshot() -> list[dict[str, Any]]:
        found = measure(encoder, manifest, features("test"), protocol.loss_batch_size)
        return [row.as_dict() for row in found]

    key = base | {"prompts": [manifest["classes"], manifest["templates"]], "loss_batch_size": protocol.loss_batch_size}
    rows = store.scores(key | {"task": manifest["task"]}, zeroshot) if store else zeroshot()
    for shots in (protocol.probes or {}).get(name, []):

        def linear_probe(shots: int | str = shots) -> list[dict[str, Any]]:
            train, test = features("train"), features("test")
            value, spread, chosen = probe_accuracy(
                (train.images, train.labels),
                (test.images, test.labels),
                len(manifest["classes"]),
                shots,
                protocol.linear_probe,
            )
            log.info(f"{probe_name(name, shots)} acc1={value:.4f} chosen: {'; '.join(map(str, chosen))}")
            return [probe(probe_name(name, shots), value, spread, len(chosen), len(test.labels)).as_dict()]

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
    weights = encode_classes(encoder.model, encoder.tokenizer, classes, templates, encoder.device)
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
