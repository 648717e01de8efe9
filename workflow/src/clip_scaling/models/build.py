"""open_clip models from their JSON configs."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeAlias

import torch
from open_clip.coca_model import CoCa
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

from ..errors import ConfigError
from ..study.config.training import Recipe

Model: TypeAlias = CLIP | CustomTextCLIP | CoCa
PREPROCESS: dict[str, Any] = {
    "mean": list(OPENAI_DATASET_MEAN),
    "std": list(OPENAI_DATASET_STD),
    "interpolation": "bicubic",
}
"""Image preprocessing of training and of evaluation, in open_clip's terms."""


def model_config_of(config: dict[str, Any], recipe: Recipe) -> dict[str, Any]:
    """Complete a model config by what the objective and the recipe add to it.

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
    """Build a model with fresh weights from an open_clip config (`embed_dim`, `vision_cfg`, `text_cfg`)."""
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
    """Normalise (batch, height, width, 3) uint8 -> (batch, 3, height, width) float32, as open_clip's transform does."""
    centre, width = _levels(tuple(mean), pixels.device), _levels(tuple(std), pixels.device)
    planes = pixels.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)
    return planes.sub_(centre).div_(width)


@lru_cache(maxsize=16)
def _levels(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Values of each colour in grey levels, (3, 1, 1). Kept: to make one on a GPU waits for all that it has to do."""
    with torch.inference_mode(False):
        return 255 * torch.tensor(values, device=device).reshape(3, 1, 1)
