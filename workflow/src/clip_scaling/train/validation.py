"""A small evaluation while a cell trains: the points of its learning curves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..evaluate.encode import encode_set, read_batches
from ..evaluate.suite import Encoder, measure
from ..models.preprocess import Preprocess
from ..models.tokenizer import load_tokenizer
from ..records.files import read_json, verify_files


def validation_steps(start: int, steps: int, times: int) -> frozenset[int]:
    """The steps after which a run from `start` to `steps` is evaluated: evenly spread, the last included."""
    return frozenset(start + round((steps - start) * number / times) for number in range(1, times + 1)) - {start}


def make_validation(
    model: Any,
    manifests: list[Path],
    merges: Path,
    model_config: dict[str, Any],
    device: torch.device,
    max_samples: int,
    batch_size: int,
    loss_batch_size: int,
) -> Callable[[], dict[str, float]]:
    """A function that measures the model, as it then is, on the first samples of each set: {"set/metric": value}."""
    tokenizer = load_tokenizer(merges, model_config["text_cfg"].get("context_length", 77))
    preprocess = Preprocess(model_config["vision_cfg"].get("image_size", 224))
    encoder = Encoder(model, tokenizer, preprocess, device, {})
    sets = []
    for path in manifests:
        manifest = read_json(path)
        folder = Path(manifest.get("folder", path.parent))
        verify_files(manifest["files"], folder, f"Delete {path} and run `snakemake --cores all {path}`.")
        # Read once, kept as pixels: a validation is then the model's passes alone.
        sets.append((manifest, list(read_batches(folder, preprocess, batch_size, limit=max_samples))))

    def validate() -> dict[str, float]:
        found = {}
        for manifest, batches in sets:
            features = encode_set(model, tokenizer, iter(batches), device)
            for row in measure(encoder, manifest, features, loss_batch_size):
                found[f"{row.dataset}/{row.metric}"] = row.value
        return found

    return validate
