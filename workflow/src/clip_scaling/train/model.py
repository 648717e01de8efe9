"""open_clip models from their JSON configs, and what a checkpoint holds."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor

from ..errors import EvaluationError
from ..manifests import atomic_path, canonical_json

PREPROCESS = {"mean": list(OPENAI_DATASET_MEAN), "std": list(OPENAI_DATASET_STD), "interpolation": "bicubic"}
"""Image preprocessing of training and of evaluation, in open_clip's terms."""


def build_model(config: dict[str, Any]) -> CLIP | CustomTextCLIP:
    """A model with fresh weights from an open_clip config (`embed_dim`, `vision_cfg`, `text_cfg`)."""
    arguments = dict(config)
    model_class = CustomTextCLIP if arguments.pop("custom_text", False) else CLIP
    return model_class(**arguments)


def normalise(pixels: Tensor) -> Tensor:
    """(batch, height, width, 3) uint8 -> (batch, 3, height, width) float32, as open_clip's transform does."""
    mean = torch.tensor(PREPROCESS["mean"], device=pixels.device)
    std = torch.tensor(PREPROCESS["std"], device=pixels.device)
    return (pixels.float().div_(255).sub_(mean).div_(std)).permute(0, 3, 1, 2).contiguous()


def weights_sha256(state: dict[str, Tensor]) -> str:
    """Hash of names, shapes, types and bytes of all weights, independent of the file format."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, model: CLIP | CustomTextCLIP, about: dict[str, Any]) -> None:
    """Write weights and what is needed to use them, atomically and with the same bytes for the same weights.

    about: plain JSON values: model_config, tokenizer_sha256, cell, recipe, ...
    """
    buffer = io.BytesIO()  # torch.save puts a file's name into its bytes, but not a buffer's
    state = {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()}
    torch.save({"state_dict": state, "about": canonical_json({**about, "preprocess": PREPROCESS})}, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load_checkpoint(path: Path) -> tuple[CLIP | CustomTextCLIP, dict[str, Any]]:
    """The trained model, in eval mode on the CPU, and its `about`. EvaluationError where weights do not fit."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        about = json.loads(content["about"])
        state = content["state_dict"]
    except FileNotFoundError:
        raise EvaluationError(f"{path}: no such checkpoint. Run `snakemake {path}`.") from None
    except (KeyError, RuntimeError, ValueError, EOFError, TypeError) as error:
        raise EvaluationError(
            f"{path}: not a checkpoint of this workflow ({error}). Delete it and train the cell again."
        ) from None
    if about["preprocess"] != PREPROCESS:
        raise EvaluationError(
            f"{path}: trained with preprocessing {about['preprocess']}, evaluation knows {PREPROCESS}."
        )
    model = build_model(about["model_config"])
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise EvaluationError(f"{path}: weights do not fit the model config beside them: {error}") from None
    return model.eval(), about
