"""Parameters, activations and memory of a model, from its config alone.

Counts follow open_clip's modules; activations a layer follow Korthikanti et al. 2022 (arXiv 2205.05198, eq. 1) without
the term of the attention matrix, which torch's fused attention does not store.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BYTES_A_PARAMETER = 16
"""fp32 weights and gradients, and AdamW's two moments."""
BYTES_A_LAYER = 34
"""Activations that a layer keeps for the backward pass, bytes a token and channel in 16-bit; twice that in fp32."""
BYTES_RECOMPUTED = 2
"""The same with gradient checkpointing: the layer's input only."""


@dataclass(frozen=True)
class ModelSize:
    """Numbers that memory follows from.

    parameters: of both towers. layer_channels: sum over layers of tokens x width a sample; widest: of one layer.
    """

    parameters: int
    layer_channels: int
    widest: int
    embed_dim: int

    def activation_bytes(self, is_recomputed: bool, is_half: bool) -> float:
        """A sample's activations at their peak, bytes."""
        width = 1 if is_half else 2
        if not is_recomputed:
            return width * BYTES_A_LAYER * self.layer_channels
        return width * (BYTES_RECOMPUTED * self.layer_channels + BYTES_A_LAYER * self.widest)


def model_size(model: dict[str, Any]) -> ModelSize:
    """Count the sizes of an open_clip config of plain transformers (a CoCa decoder is left out of the activations)."""
    vision, text, embed = model["vision_cfg"], model["text_cfg"], model["embed_dim"]
    width, layers = vision.get("width", 768), vision.get("layers", 12)
    side, patch = vision.get("image_size", 224), vision.get("patch_size", 16)
    height, breadth = side if isinstance(side, list | tuple) else (side, side)
    tokens = (height // patch) * (breadth // patch) + 1
    words, text_width, text_layers = text.get("context_length", 77), text.get("width", 512), text.get("layers", 12)
    image = 3 * patch**2 * width + width + tokens * width + 4 * width  # patches, class, positions, ln_pre, ln_post
    image += layers * _block(width, vision.get("mlp_ratio", 4.0)) + width * embed
    language = text.get("vocab_size", 49408) * text_width + words * text_width + 2 * text_width
    language += text_layers * _block(text_width, text.get("mlp_ratio", 4.0)) + text_width * embed
    decoder = 0
    if "multimodal_cfg" in model:
        part = model["multimodal_cfg"]
        decoder = (
            part["layers"] * 2 * _block(part["width"], part.get("mlp_ratio", 4)) + part["width"] * part["vocab_size"]
        )
    return ModelSize(
        parameters=image + language + decoder + 1,
        layer_channels=layers * tokens * width + text_layers * words * text_width,
        widest=max(tokens * width, words * text_width),
        embed_dim=embed,
    )


def memory_gb(
    size: ModelSize,
    local_batch: int,
    global_batch: int,
    ranks: int,
    is_recomputed: bool,
    is_half: bool,
    is_sharded: bool,
) -> float:
    """Estimate the peak memory of one rank, GB: weights and optimizer, activations, features and similarities.

    local_batch: samples of a micro-batch on this rank. The similarities are local rows against all columns, two of
    them, in fp32, with their gradients.
    """
    state = size.parameters * BYTES_A_PARAMETER / (ranks if is_sharded else 1)
    if is_half:
        state += 2 * size.parameters / (ranks if is_sharded else 1)  # autocast's copies of the weights
    activations = local_batch * size.activation_bytes(is_recomputed, is_half)
    similarities = 4 * 4 * local_batch * global_batch + 2 * 4 * global_batch * size.embed_dim
    return (state + activations + similarities) / 1e9


def _block(width: int, mlp_ratio: float) -> int:
    """Weights of a transformer block: attention, MLP, two LayerNorms, biases."""
    hidden = int(width * mlp_ratio)
    return 4 * width**2 + 4 * width + 2 * width * hidden + hidden + width + 4 * width
