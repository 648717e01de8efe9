"""open_clip models from their JSON configs, and what a checkpoint holds."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import torch
from open_clip.coca_model import CoCa
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

from ..errors import ConfigError, EvaluationError
from ..records.files import atomic_path, canonical_json
from ..study.config.training import Recipe

Model: TypeAlias = CLIP | CustomTextCLIP | CoCa
PREPROCESS: dict[str, Any] = {
    "mean": list(OPENAI_DATASET_MEAN),
    "std": list(OPENAI_DATASET_STD),
    "interpolation": "bicubic",
}
"""Image preprocessing of training and of evaluation, in open_clip's terms."""


def model_config_of(config: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """The config of the model that a recipe trains: the given one with what the objective and the recipe add to it.

    SigLIP's scale starts at 10 and its bias at -10 (Zhai et al. 2023, section 3.2).
    ConfigError where the objective and the model do not go together.
    """
    changed = copy.deepcopy(config)
    if (recipe.objective == "coca") != ("multimodal_cfg" in config):
        raise ConfigError(
            f"recipe.objective {recipe.objective!r} does not go with this model: coca needs a `multimodal_cfg`, as in "
            "open_clip's coca_ViT-B-32, and the others have no use for one"
        )
    if recipe.objective == "siglip":
        changed = {"init_logit_scale": math.log(10), "init_logit_bias": -10.0} | changed
    if recipe.patch_dropout:
        changed["vision_cfg"]["patch_dropout"] = recipe.patch_dropout
    return changed


def build_model(config: dict[str, Any]) -> Model:
    """A model with fresh weights from an open_clip config (`embed_dim`, `vision_cfg`, `text_cfg`)."""
    arguments = dict(config)
    has_own_text = arguments.pop("custom_text", False)
    if "multimodal_cfg" in arguments:
        model: Model = CoCa(**arguments)
        if model.text_decoder.text_projection is not None:
            # open_clip 3.3.0 leaves this matrix as the allocator found it.
            nn.init.normal_(model.text_decoder.text_projection, std=model.text_decoder.width**-0.5)
        return model
    return (CustomTextCLIP if has_own_text else CLIP)(**arguments, output_dict=True)


def normalise(
    pixels: Tensor, mean: Sequence[float] = PREPROCESS["mean"], std: Sequence[float] = PREPROCESS["std"]
) -> Tensor:
    """(batch, height, width, 3) uint8 -> (batch, 3, height, width) float32, as open_clip's transform does."""
    centre, width = (torch.tensor(values, device=pixels.device).reshape(3, 1, 1) for values in (mean, std))
    planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return planes.sub_(255 * centre).div_(255 * width)


def weights_sha256(state: dict[str, Tensor]) -> str:
    """Hash of names, shapes, types and bytes of all weights, independent of the file format."""
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
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getvalue())


def load_checkpoint(path: Path) -> tuple[Model, dict[str, Any]]:
    """The trained model, in eval mode on the CPU, and its `about`. EvaluationError where weights do not fit."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        about = json.loads(content["about"])
        state = content["state_dict"]
    except FileNotFoundError:
        raise EvaluationError(f"{path}: no such checkpoint. Run `snakemake --cores all {path}`.") from None
    except (KeyError, RuntimeError, ValueError, EOFError, TypeError) as error:
        raise EvaluationError(
            f"{path}: not a checkpoint of this workflow ({error}). Delete it and train the cell again."
        ) from None
    if about["preprocess"] != PREPROCESS:
        raise EvaluationError(
            f"{path}: trained with preprocessing {about['preprocess']}, evaluation knows {PREPROCESS}."
        )
    return with_weights(build_model(about["model_config"]), state, path), about


def with_weights(model: Model, state: dict[str, Tensor], path: Path) -> Model:
    """The model in eval mode with these weights. EvaluationError where one is missing, unexpected or of other shape."""
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise EvaluationError(f"{path}: weights do not fit the model config beside them: {error}") from None
    return model.eval()
