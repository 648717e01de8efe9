"""A small evaluation while a cell trains: the points of its learning curves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..data.tokenizer import load_tokenizer
from ..evaluate.suite import measure
from ..manifests import read_json, verify_files


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
    for path in manifests:
        verify_files(read_json(path)["files"], path.parent, f"Delete {path} and run `snakemake {path}`.")
    tokenizer = load_tokenizer(merges, model_config["text_cfg"].get("context_length", 77))
    size = model_config["vision_cfg"].get("image_size", 224)

    def validate() -> dict[str, float]:
        rows = [
            row
            for path in manifests
            for row in measure(model, tokenizer, path, size, batch_size, loss_batch_size, device, limit=max_samples)
        ]
        return {f"{row.dataset}/{row.metric}": row.value for row in rows}

    return validate
