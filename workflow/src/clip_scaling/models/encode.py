"""A trained model with all that it needs to encode images and texts into unit vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import EvaluationError
from ..models.checkpoint import read_state
from ..records.files import sha256_file
from .build import build_model
from .checkpoint import load_checkpoint, with_weights
from .precision import number_format, require_number_format
from .preprocess import Preprocess
from .tokenizer import load_tokenizer

log = logging.getLogger(__name__)

Tokenizer: TypeAlias = Callable[[str | list[str]], Tensor]


@dataclass(frozen=True)
class Encoder:
    """A model on its device.

    identity: plain JSON values that its features follow from: weights, tokenizer, precision.
    precision: number format of a forward pass, as in `evaluation.precision`.
    """

    model: Any
    tokenizer: Tokenizer
    preprocess: Preprocess
    device: torch.device
    identity: dict[str, Any]
    precision: str = "fp32"

    @property
    def scale(self) -> float:
        """The inverse temperature."""
        return float(self.model.logit_scale.exp().item())

    def in_precision(self, name: str) -> Encoder:
        """The same model in another number format. EvaluationError where the device cannot do it."""
        require_number_format(name, self.device)
        # The key says more on a GPU: features were stored there as fp32 while convolutions ran in TF32.
        more = {"cudnn_tf32": name == "tf32"} if self.device.type == "cuda" else {}
        identity = self.identity | {"precision": name} | more
        if (name, identity) == (self.precision, self.identity):
            return self
        return replace(self, precision=name, identity=identity)

    @torch.no_grad()
    def images(self, pixels: Tensor) -> Tensor:
        """Encode (n, size, size, 3) uint8 pixels as (n, dim) unit vectors, on the CPU."""
        with number_format(self.precision, self.device):
            return _unit(self.model.encode_image(self.preprocess.normalise(pixels.to(self.device)))).cpu()

    @torch.no_grad()
    def texts(self, lines: list[str]) -> Tensor:
        """Encode n texts as (n, dim) unit vectors, on the CPU."""
        with number_format(self.precision, self.device):
            return _unit(self.model.encode_text(self.tokenizer(lines).to(self.device))).cpu()

    def classes(self, names: list[str], templates: list[str], batch_size: int = 1024) -> Tensor:
        """Encode one unit vector a class, (classes, dim): the mean of its prompts' unit vectors, as clip-benchmark."""
        prompts = [template.format(c=name) for name in names for template in templates]
        rows = [self.texts(prompts[begin : begin + batch_size]) for begin in range(0, len(prompts), batch_size)]
        return _unit(torch.cat(rows).reshape(len(names), len(templates), -1).mean(dim=1))


def _unit(vectors: Tensor) -> Tensor:
    return F.normalize(vectors.float(), dim=-1)


def load_cell(checkpoint: Path, merges: Path) -> tuple[Encoder | None, dict[str, Any]]:
    """Load the model of a cell, ready to encode, and its `about`; no model where it diverged in training.

    merges: the tokenizer's file, which must be the one that the checkpoint was trained with.
    """
    model, about = load_checkpoint(checkpoint)
    if about.get("state") == "diverged":
        log.info(f"{about['cell']} diverged in training: it is not evaluated")
        return None, about
    tokenizer_sha256 = sha256_file(merges)
    if tokenizer_sha256 != about["tokenizer_sha256"]:
        raise EvaluationError(
            f"trained with another tokenizer than {merges}", place=str(checkpoint), remedy="Train the cell again."
        )
    return trained_here(model, about["model_config"], merges, sha256_file(checkpoint)), about


def load_state(path: Path, merges: Path, model_config: dict[str, Any]) -> tuple[Encoder | None, dict[str, Any]]:
    """Load the model of a state saved in training, or of a trunk's branch point, and {"step", "state"}.

    model_config: that of the checkpoint which the run ends with. No model where the run had diverged.
    EvaluationError where the model does not fit the weights.
    """
    content = read_state(path)
    if not {"model", "progress"} <= content.keys():
        raise EvaluationError(
            "not a saved state of training", place=str(path), remedy="Name a step-*.pt or the state of a trunk."
        )
    about = {"step": content["progress"]["step"], "state": "diverged" if content.get("is_diverged") else "saved"}
    if about["state"] == "diverged":
        log.info(f"{path}: the run diverged before: it is not evaluated")
        return None, about
    model = with_weights(build_model(model_config), content["model"], path)
    return trained_here(model, model_config, merges, sha256_file(path)), about


def trained_here(model: Any, model_config: dict[str, Any], merges: Path, checkpoint_sha256: str) -> Encoder:
    """Make the encoder of a model that was trained here."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return Encoder(
        model.to(device),
        load_tokenizer(merges, model_config["text_cfg"].get("context_length", 77)),
        Preprocess(model_config["vision_cfg"].get("image_size", 224)),
        device,
        {"checkpoint_sha256": checkpoint_sha256, "tokenizer_sha256": sha256_file(merges), "precision": "fp32"},
    )
