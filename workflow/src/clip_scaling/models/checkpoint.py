"""Checkpoints of finished runs, and the reading of states saved on the way."""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import EvaluationError, ManifestError, TrainingError
from ..records.filenames import TRAINED
from ..records.files import canonical_json
from ..records.seal import check_seal, sealed_path
from ..records.training import TrainRecord
from .build import PREPROCESS, Model, build_model

ABOUT = ("cell", "state", "model_config", "recipe", "recipe_version", "tokenizer_sha256")
"""Fields of a training's record that its checkpoint repeats."""


def weights_sha256(state: dict[str, Tensor]) -> str:
    """Hash names, shapes, types and bytes of all weights, independent of the file format."""
    digest = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def save_checkpoint(path: Path, state: dict[str, Tensor], about: dict[str, Any]) -> None:
    """Write weights and what is needed to use them, atomically and with the same bytes for the same weights.

    about: plain JSON values: model_config, tokenizer_sha256, cell, recipe, ...
    """
    buffer = io.BytesIO()  # torch.save puts a file's name into its bytes, but not a buffer's
    content = {name: tensor.detach().cpu() for name, tensor in state.items()}
    torch.save({"state_dict": content, "about": canonical_json({**about, "preprocess": PREPROCESS})}, buffer)
    with sealed_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load_checkpoint(path: Path) -> tuple[Model, dict[str, Any]]:
    """Load the trained model, in eval mode on the CPU, and its `about`. EvaluationError where weights do not fit."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        about = json.loads(content["about"])
        state = content["state_dict"]
    except FileNotFoundError:
        raise EvaluationError(
            "no such checkpoint", place=str(path), remedy=f"Run `snakemake --cores all {path}`."
        ) from None
    except Exception as error:  # torch's reader lets through whatever a damaged file makes it meet
        raise EvaluationError(
            f"not a checkpoint of this workflow ({error})",
            place=str(path),
            remedy="Delete it and train the cell again.",
        ) from None
    _compare_with_record(path, state, about)
    if about["preprocess"] != PREPROCESS:
        raise EvaluationError(
            f"trained with preprocessing {about['preprocess']}, evaluation knows {PREPROCESS}", place=str(path)
        )
    return with_weights(build_model(about["model_config"]), state, path), about


def _compare_with_record(path: Path, state: dict[str, Tensor], about: dict[str, Any]) -> None:
    """EvaluationError where weights, or what is said of them, are not those of the record of training beside them."""
    record_path = path.with_name(TRAINED)
    if not record_path.is_file():
        return
    record = TrainRecord.read(record_path)
    fields = record.as_json()
    differing = [name for name in ABOUT if canonical_json(about.get(name)) != canonical_json(fields.get(name))]
    if record.weights_sha256 != weights_sha256(state):
        differing.insert(0, "weights_sha256")
    if differing:
        raise EvaluationError(
            f"damaged: {', '.join(differing)} not as in the record of training beside it",
            place=str(path),
            remedy=f"Delete both and run `snakemake --cores all {path}`.",
        )


def with_weights(model: Model, state: dict[str, Tensor], path: Path) -> Model:
    """Put the model in eval mode with these weights. EvaluationError: one is missing, unexpected or of other shape."""
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise EvaluationError(f"weights do not fit the model config beside them: {error}", place=str(path)) from None
    return model.eval()


def read_state(path: Path) -> dict[str, Any]:
    """Read the content of a state saved in training, on the CPU. TrainingError where it is damaged."""
    try:
        check_seal(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except ManifestError as error:
        raise TrainingError(error.thing, place=error.place, remedy=error.remedy) from None
    except Exception as error:  # torch's reader lets through whatever a damaged file makes it meet
        raise TrainingError(
            f"cannot be read as a state ({error})", place=str(path), remedy="Delete it and run again."
        ) from None
