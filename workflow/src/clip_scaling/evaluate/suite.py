"""All sets of a suite on one checkpoint: the model is loaded once, and each set is encoded once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch

from ..data.tokenizer import load_tokenizer
from ..errors import EvaluationError
from ..manifests import read_json, sha256_file, verify_files
from ..train.model import load_checkpoint
from .encode import Tokenizer, encode_classes, encode_set, read_batches
from .metrics import CLASSIFICATION, RETRIEVAL, Measured, classification, contrastive_loss, retrieval

log = logging.getLogger(__name__)


def evaluate_checkpoint(
    checkpoint: Path, manifests: list[Path], merges: Path, batch_size: int, loss_batch_size: int
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
    tokenizer = load_tokenizer(merges, config["text_cfg"].get("context_length", 77))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device)
    image_size = config["vision_cfg"].get("image_size", 224)
    rows: list[Measured] = []
    for path in manifests:
        manifest = read_json(path)
        verify_files(manifest["files"], path.parent, f"Delete {path} and run `snakemake {path}`.")
        found = measure(model, tokenizer, path, image_size, batch_size, loss_batch_size, device)
        log.info(f"{about['cell']} {manifest['dataset']} " + " ".join(f"{row.metric}={row.value:.4f}" for row in found))
        rows += found
    return rows, about


def measure(
    model: Any,
    tokenizer: Tokenizer,
    manifest_path: Path,
    image_size: int,
    batch_size: int,
    loss_batch_size: int,
    device: torch.device,
    limit: int | None = None,
) -> list[Measured]:
    """Every metric of one set, or of its first `limit` images. EvaluationError where its task is unknown."""
    manifest = read_json(manifest_path)
    name = manifest["dataset"]
    batches = read_batches(manifest_path.parent, image_size, batch_size, limit)
    if manifest["task"] == CLASSIFICATION:
        classes = encode_classes(model, tokenizer, manifest["classes"], manifest["templates"], device)
        return classification(name, encode_set(model, tokenizer, batches, device), classes)
    if manifest["task"] == RETRIEVAL:
        features = encode_set(model, tokenizer, batches, device)
        scale = model.logit_scale.exp().item()
        return [*retrieval(name, features), contrastive_loss(name, features, scale, loss_batch_size)]
    raise EvaluationError(f"{manifest_path}: unknown task {manifest['task']!r}.")
