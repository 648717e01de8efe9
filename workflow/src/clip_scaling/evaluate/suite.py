"""All sets of a suite on one checkpoint: the model is loaded once."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from ..data.tokenizer import load_tokenizer
from ..errors import EvaluationError
from ..manifests import read_json, sha256_file, verify_files
from ..train.model import load_checkpoint
from .zeroshot import Measured, classification, contrastive_loss, open_set, retrieval

log = logging.getLogger(__name__)


def evaluate_checkpoint(
    checkpoint: Path, manifests: list[Path], merges: Path, batch_size: int, loss_batch_size: int
) -> tuple[list[Measured], dict[str, Any]]:
    """Every metric of every set, and the checkpoint's `about`.

    manifests: of the evaluation sets; their files are verified by size and hash.
    merges: the tokenizer's file, which must be the one that the checkpoint was trained with.
    """
    model, about = load_checkpoint(checkpoint)
    if sha256_file(merges) != about["tokenizer_sha256"]:
        raise EvaluationError(f"{checkpoint}: trained with another tokenizer than {merges}. Train the cell again.")
    config = about["model_config"]
    tokenizer = load_tokenizer(merges, config["text_cfg"].get("context_length", 77))
    transform = image_transform_v2(
        PreprocessCfg(size=config["vision_cfg"].get("image_size", 224), **about["preprocess"]), is_train=False
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = model.to(device)
    rows: list[Measured] = []
    for path in manifests:
        manifest, folder = read_json(path), path.parent
        name = manifest["dataset"]
        verify_files(manifest["files"], folder, f"Delete {path} and run `snakemake {path}`.")
        dataset, batches = open_set(folder, manifest["task"], transform, batch_size)
        if manifest["task"] == "zeroshot_classification":
            found = classification(name, model, tokenizer, dataset, batches, device)
        elif manifest["task"] == "zeroshot_retrieval":
            found = retrieval(name, model, tokenizer, batches, device)
            found.append(contrastive_loss(name, model, tokenizer, batches, loss_batch_size, device))
        else:
            raise EvaluationError(f"{path}: unknown task {manifest['task']!r}.")
        log.info(f"{about['cell']} {name} " + " ".join(f"{row.metric}={row.value:.4f}" for row in found))
        rows += found
    return rows, about
