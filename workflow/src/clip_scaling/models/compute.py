"""Compute of a CLIP model from its config: forward multiply-accumulates a sample, both towers.

The convention is that of the paper (Cherti et al., arXiv 2212.07143; fvcore's count): linear layers,
attention products and 5 operations an element of every LayerNorm; softmax, GELU, biases and the
embedding look-up are free. No factor 2 for FLOPs and none for the backward pass.
"""

from __future__ import annotations

from typing import Any

from ..errors import ConfigError


def gmacs_per_sample(model: dict[str, Any]) -> dict[str, float]:
    """Count forward GMACs of one image and one text.

    model: an open_clip model config (`embed_dim`, `vision_cfg`, `text_cfg`).
    Returns {"image", "text", "total"} in 10^9 multiply-accumulates; for CoCa "decoder" too, which is part of the total.
    ConfigError where a tower is no plain transformer: its count is not known here.
    """
    vision, text = model["vision_cfg"], model["text_cfg"]
    if "timm_model_name" in vision or not isinstance(vision.get("layers", 12), int) or "hf_model_name" in text:
        raise ConfigError(
            "GMACs are known for open_clip's own vision and text transformers only, not for ResNet, timm or HF towers"
        )
    embed = model["embed_dim"]
    patch = vision.get("patch_size", 16)
    side = vision.get("image_size", 224)
    height, width = side if isinstance(side, list | tuple) else (side, side)
    patches = (height // patch) * (width // patch)
    image = _transformer(
        tokens=patches + 1,
        width=vision.get("width", 768),
        layers=vision.get("layers", 12),
        mlp_ratio=vision.get("mlp_ratio", 4.0),
        norms_outside=2,  # ln_pre and ln_post
        embed=embed,
    )
    image += patches * 3 * patch * patch * vision.get("width", 768)
    words = _transformer(
        tokens=text.get("context_length", 77),
        width=text.get("width", 512),
        layers=text.get("layers", 12),
        mlp_ratio=text.get("mlp_ratio", 4.0),
        norms_outside=1,  # ln_final
        embed=embed,
    )
    parts = {"image": image / 1e9, "text": words / 1e9}
    if "multimodal_cfg" in model:
        parts["decoder"] = _coca_decoder(model, image_tokens=patches + 1) / 1e9
    return parts | {"total": sum(parts.values())}


def _coca_decoder(model: dict[str, Any], image_tokens: int) -> int:
    """Multiply-accumulates of CoCa's attentional pooler and caption decoder (Yu et al. 2022, section 3.2)."""
    vision, decoder, embed = model["vision_cfg"], model["multimodal_cfg"], model["embed_dim"]
    queries, total = image_tokens, 0
    if vision.get("attentional_pool"):
        queries = vision.get("attn_pooler_queries", 256)
        total += 2 * queries * embed**2 + 2 * image_tokens * vision.get("width", 768) * embed
        total += 2 * queries * image_tokens * embed
    width, words = decoder["width"], decoder.get("context_length", 76) - 1
    mlp = 2 * words * width * int(width * decoder.get("mlp_ratio", 4))
    own = 4 * words * width**2 + 2 * words**2 * width + mlp
    cross = 2 * words * width**2 + 2 * queries * width**2 + 2 * words * queries * width + mlp
    return total + decoder["layers"] * (own + cross) + words * width * decoder["vocab_size"]


def _transformer(tokens: int, width: int, layers: int, mlp_ratio: float, norms_outside: int, embed: int) -> int:
    """Multiply-accumulates of one tower: blocks, LayerNorms and the projection of one token."""
    hidden = int(width * mlp_ratio)
    linear = layers * (4 * tokens * width**2 + 2 * tokens * width * hidden) + width * embed
    attention = layers * 2 * tokens**2 * width
    norms = 5 * tokens * width * (2 * layers + norms_outside)
    return linear + attention + norms
