"""A small evaluation of a model in training: the points of its learning curves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..data.evaluation_sets.read import ImageBatch, open_set, read_batches
from ..models.encode import Encoder
from ..models.preprocess import Preprocess
from ..models.tokenizer import load_tokenizer
from ..records.data import EvaluationSetManifest
from .features import encode_set
from .measure import measure


@dataclass(frozen=True)
class Validator:
    """Validation of a training, on the first `max_samples` of each set.

    manifests: of the sets. merges: the tokenizer of the training.
    """

    manifests: list[Path]
    merges: Path
    max_samples: int = 1000
    batch_size: int = 256
    loss_batch_size: int = 250

    def of(self, model: Any, model_config: dict[str, Any], device: torch.device) -> ModelValidator:
        """Read the sets once, as pixels of the model's size: a validation is then the model's passes alone."""
        tokenizer = load_tokenizer(self.merges, model_config["text_cfg"].get("context_length", 77))
        preprocess = Preprocess(model_config["vision_cfg"].get("image_size", 224))
        sets = []
        for found in map(open_set, self.manifests):
            batches = read_batches(found.folder, preprocess, self.batch_size, limit=self.max_samples)
            sets.append((found.manifest, list(batches)))
        return ModelValidator(Encoder(model, tokenizer, preprocess, device, {}), sets, self.loss_batch_size)


@dataclass(frozen=True)
class ModelValidator:
    """The validation of one model. sets: manifests and batches."""

    encoder: Encoder
    sets: list[tuple[EvaluationSetManifest, list[ImageBatch]]]
    loss_batch_size: int

    def run(self) -> Iterator[tuple[str, float]]:
        """Measure the model as it now is: ("set/metric", value)."""
        for manifest, batches in self.sets:
            features = encode_set(self.encoder, iter(batches))
            for row in measure(self.encoder, manifest, features, self.loss_batch_size):
                yield f"{row.dataset}/{row.metric}", row.value
