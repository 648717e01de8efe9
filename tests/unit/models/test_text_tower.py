"""Text towers on the tokens that are there give the padded tower's features and gradients."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from clip_scaling.models.build import build_model
from clip_scaling.models.text_tower import (
    Attention,
    Captions,
    EndOfText,
    attention_on,
    pack,
    padded_attention,
    take_packed,
)

CONTEXT, ROWS = 9, 40
TEXT = {"context_length": CONTEXT, "vocab_size": ROWS, "width": 16, "heads": 2, "layers": 2}
MODEL: dict[str, Any] = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": TEXT,
}
TAKEN: dict[str, dict[str, Any]] = {
    "CLIP": {},
    "CLIP, one layer": {"text_cfg": TEXT | {"layers": 1}},
    "CLIP, QuickGELU": {"quick_gelu": True},
    "CLIP, layer scale": {"text_cfg": TEXT | {"ls_init_value": 0.1}},
    "tower of its own": {"custom_text": True},
    "tower of its own, eos": {"custom_text": True, "text_cfg": TEXT | {"pool_type": "eos", "eos_id": 7}},
    "tower of its own, linear projection": {"custom_text": True, "text_cfg": TEXT | {"proj_bias": True}},
    "tower of its own, no projection": {"custom_text": True, "embed_dim": 16, "text_cfg": TEXT | {"proj_type": "none"}},
}
LEFT: dict[str, dict[str, Any]] = {
    "SigLIP": {"custom_text": True, "text_cfg": TEXT | {"no_causal_mask": True, "pool_type": "last"}},
    "first token": {"custom_text": True, "text_cfg": TEXT | {"pool_type": "first"}},
    "no causal mask": {"custom_text": True, "text_cfg": TEXT | {"no_causal_mask": True}},
    "class token": {"custom_text": True, "text_cfg": TEXT | {"embed_cls": True}},
    "all tokens": {"custom_text": True, "text_cfg": TEXT | {"output_tokens": True}},
    "other blocks": {"text_cfg": TEXT | {"qk_norm": True}},
    "CoCa": {
        "text_cfg": TEXT | {"embed_cls": True, "output_tokens": True},
        "vision_cfg": MODEL["vision_cfg"] | {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "multimodal_cfg": {"context_length": CONTEXT, "vocab_size": ROWS, "width": 16, "heads": 2, "layers": 1},
    },
}


def some_tokens(lengths: list[int], end: int = ROWS - 1) -> Tensor:
    """(n, CONTEXT) captions of random words, closed by `end`. What follows is random words too: none may count."""
    random = np.random.default_rng(0)
    tokens = torch.from_numpy(random.integers(8, ROWS - 1, (len(lengths), CONTEXT)))
    for row, length in enumerate(lengths):
        tokens[row, length - 1] = end
    return tokens


def packed_tokens(lengths: list[int]) -> Captions:
    return pack(some_tokens(lengths), torch.tensor(lengths))


def loop_attention(query: Tensor, key: Tensor, value: Tensor, captions: Captions, is_last: bool) -> Tensor:
    """The definition: caption by caption, head by head, token by token."""
    found = []
    for row, (begin, end) in enumerate(zip(captions.starts[:-1].tolist(), captions.starts[1:].tolist(), strict=True)):
        for token in [end - 1] if is_last else range(begin, end):
            asked = query[row if is_last else token]
            heads = []
            for head in range(query.shape[1]):
                scores = key[begin : token + 1, head] @ asked[head] / query.shape[2] ** 0.5
                heads.append(scores.softmax(0) @ value[begin : token + 1, head])
            found.append(torch.stack(heads))
    return torch.stack(found)


def both(changes: dict[str, Any], attend: Attention | None) -> tuple[Any, Any, EndOfText]:
    """A model as it was built, the same that takes packed captions, and where its captions end."""
    torch.manual_seed(0)
    plain = build_model(MODEL | changes)
    packed = copy.deepcopy(plain)
    ends = take_packed(packed, attend)
    assert ends is not None
    return plain, packed, ends


def gradients(model: Any, text: Any) -> tuple[Tensor, dict[str, Tensor]]:
    """Features of texts, and the gradients of a scalar that weighs each of their numbers differently."""
    model.zero_grad()
    features = model.encode_text(text, normalize=True)
    (features * torch.linspace(-1, 1, features.numel()).reshape(features.shape)).sum().backward()
    return features.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("attend", [padded_attention, loop_attention])
@pytest.mark.parametrize("kind", TAKEN)
def test_packed_captions_give_the_padded_towers_features_and_gradients(kind: str, attend: Attention) -> None:
    plain, packed, ends = both(TAKEN[kind], attend)
    tokens = some_tokens([3, 9, 2, 5, 1, 9, 4], end=7 if ends.pool_type == "eos" else ROWS - 1)
    expected, expected_gradients = gradients(plain, tokens)
    found, found_gradients = gradients(packed, pack(tokens, ends.lengths(tokens)))
    assert torch.allclose(found, expected, rtol=0, atol=1e-5)
    assert found_gradients.keys() == expected_gradients.keys()
    for name, gradient in expected_gradients.items():
        scale = max(1.0, gradient.abs().max().item())
        assert (found_gradients[name] - gradient).abs().max() <= 1e-5 * scale, name


@pytest.mark.parametrize("kind", LEFT)
def test_towers_of_other_kinds_are_left_as_they_are(kind: str) -> None:
    model = build_model(MODEL | LEFT[kind])
    before = [type(module) for module in model.modules()]
    assert take_packed(model) is None
    assert [type(module) for module in model.modules()] == before


def test_a_model_that_takes_packed_captions_keeps_its_names_and_still_takes_rows_of_tokens() -> None:
    plain, packed, _ = both({}, None)
    assert list(plain.state_dict()) == list(packed.state_dict())
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in packed.named_parameters()]
    tokens = some_tokens([3, 9, 2])
    assert torch.equal(plain.encode_text(tokens), packed.encode_text(tokens))


def test_checkpointed_blocks_give_the_same_gradients() -> None:
    _, packed, _ = both({}, None)
    captions = packed_tokens([3, 9, 2, 5])
    _, expected = gradients(packed, captions)
    packed.set_grad_checkpointing()
    _, found = gradients(packed, captions)
    for name in expected:
        assert torch.allclose(found[name], expected[name], rtol=0, atol=1e-6), name


@pytest.mark.slow
def test_one_compilation_serves_captions_of_any_total() -> None:
    plain, packed, ends = both({}, None)
    compiled = torch.compile(packed, fullgraph=True)
    pixels = torch.zeros(4, 3, 16, 16)
    torch._dynamo.reset()
    for number, lengths in enumerate(([3, 9, 2, 5], [9, 9, 9, 9], [2, 3, 2, 2])):
        tokens = some_tokens(list(lengths))
        with torch.compiler.set_stance("default" if number == 0 else "fail_on_recompile"):
            captions = pack(tokens, ends.lengths(tokens), longest=CONTEXT).mark_dynamic()
            found = compiled(pixels, captions)["text_features"]
        assert torch.allclose(found, plain.encode_text(tokens, normalize=True), rtol=0, atol=1e-5)


def test_a_caption_ends_at_its_highest_token_or_at_the_first_end_token() -> None:
    rows = torch.tensor([[3, 9, 0, 0], [1, 2, 3, 9], [9, 0, 0, 0], [1, 9, 5, 9]])
    assert EndOfText("argmax", 2).lengths(rows).tolist() == [2, 4, 1, 2]
    assert EndOfText("eos", 2).lengths(torch.tensor([[3, 2, 2, 0], [1, 1, 1, 2]])).tolist() == [2, 4]
    # open_clip takes the first token's feature where no end token is there.
    assert EndOfText("eos", 2).lengths(torch.tensor([[3, 4, 5, 6]])).tolist() == [1]


def test_packing_drops_what_follows_the_end() -> None:
    captions = pack(torch.tensor([[3, 9, 0, 0], [1, 2, 9, 5]]), torch.tensor([2, 3]))
    assert captions.tokens.tolist() == [3, 9, 1, 2, 9] and captions.tokens.dtype == torch.int64
    assert captions.places.tolist() == [0, 1, 0, 1, 2]
    assert captions.rows.tolist() == [0, 0, 1, 1, 1]
    assert captions.starts.tolist() == [0, 2, 5] and captions.starts.dtype == torch.int32
    assert captions.last.tolist() == [1, 4]
    assert captions.longest == 3


def test_attention_runs_as_the_definition_in_bfloat16_too() -> None:
    captions = packed_tokens([3, 9, 2, 5])
    total = len(captions.tokens)
    query, key, value = torch.randn(3, total, 2, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    for is_last in (False, True):
        asked = query[captions.last] if is_last else query
        expected = loop_attention(asked.float(), key.float(), value.float(), captions, is_last)
        found = padded_attention(asked, key, value, captions, is_last)
        assert found.shape == asked.shape and found.dtype == torch.bfloat16
        assert torch.allclose(found.float(), expected, rtol=0, atol=2e-2)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 3e-2), (torch.float16, 3e-3), (torch.float32, 1e-4)])
def test_a_gpu_gives_the_padded_towers_features_and_waits_for_nothing(dtype: torch.dtype, bound: float) -> None:
    device = torch.device("cuda")
    plain, packed, ends = both({}, attention_on(device))
    tokens = some_tokens([3, 9, 2, 5, 1, 9, 4])
    expected = F.normalize(plain.encode_text(tokens), dim=-1)
    there, lengths = tokens.to(device), ends.lengths(tokens)
    packed.to(device).encode_text(pack(there, lengths))  # loads kernels, which may wait
    torch.cuda.set_sync_debug_mode("error")
    try:
        with torch.autocast("cuda", dtype=dtype, enabled=dtype != torch.float32):
            found = packed.encode_text(pack(there, lengths), normalize=True)
        found.float().square().sum().backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.allclose(found.float().cpu(), expected, rtol=0, atol=bound)
