"""An image tower that is computed for its class token alone gives the same features and gradients."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor

from clip_scaling.models.build import build_model
from clip_scaling.models.image_tower import take_class_token

VISION = {"image_size": 16, "patch_size": 4, "width": 16, "head_width": 8, "layers": 2}
TAKEN: dict[str, dict[str, Any]] = {
    "two layers": {},
    "one layer": {"layers": 1},
    "patch dropout": {"patch_dropout": 0.5},
    "layer scale": {"ls_init_value": 0.1},
    "norm after pooling": {"final_ln_after_pool": True},
}
LEFT: dict[str, dict[str, Any]] = {
    "mean of tokens": {"pool_type": "avg"},
    "attentional pool": {"attentional_pool": True, "attn_pooler_heads": 2},
    "tokens are given": {"output_tokens": True},
    "other blocks": {"qk_norm": True},
    "ResNet": {"layers": [1, 1, 1, 1], "image_size": 64, "width": 8},
}


def built(changes: dict[str, Any]) -> Any:
    torch.manual_seed(0)
    text = {"context_length": 5, "vocab_size": 16, "width": 16, "heads": 2, "layers": 1}
    return build_model({"embed_dim": 12, "vision_cfg": VISION | changes, "text_cfg": text})


def gradients(model: Any) -> tuple[Tensor, dict[str, Tensor]]:
    torch.manual_seed(1)  # of the pixels, and of the patches that are dropped
    features = model.encode_image(torch.randn(6, 3, 16, 16), normalize=True)
    (features * torch.linspace(-1, 1, features.numel()).reshape(features.shape)).sum().backward()
    return features.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", TAKEN)
def test_the_class_token_alone_gives_the_whole_towers_features_and_gradients(kind: str) -> None:
    plain = built(TAKEN[kind]).train()
    short = copy.deepcopy(plain)
    assert take_class_token(short)
    assert list(short.state_dict()) == list(plain.state_dict())
    expected, expected_gradients = gradients(plain)
    found, found_gradients = gradients(short)
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    assert found_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        assert torch.allclose(found_gradients[name], gradient, rtol=0, atol=1e-5), name
    pixels = torch.randn(2, 3, 16, 16)
    assert torch.equal(short.eval().encode_image(pixels), plain.eval().encode_image(pixels))


@pytest.mark.parametrize("kind", LEFT)
def test_image_towers_of_other_kinds_are_left_as_they_are(kind: str) -> None:
    model = built(LEFT[kind])
    before = [type(module) for module in model.modules()]
    assert not take_class_token(model)
    assert [type(module) for module in model.modules()] == before
