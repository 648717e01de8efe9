"""Attention in bfloat16 on a CPU."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from clip_scaling.models.precision import _torch_attention, attention

from ..train.conftest import Run


def test_attention_in_bfloat16_is_the_exact_one_up_to_its_rounding() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 10, 16, generator=generator).bfloat16().unbind()
    for mask in (None, torch.full((10, 10), -torch.inf).triu(1).bfloat16()):
        exact = _torch_attention(*(x.double() for x in (query, key, value)), mask if mask is None else mask.double())
        # bfloat16 has 8 bits: each of scores, weights and sums is within 2^-8 of its value.
        torch.testing.assert_close(attention(query, key, value, mask).double(), exact, atol=4 * 2**-8, rtol=2**-7)


def test_attention_is_torchs_own_in_other_precisions() -> None:
    query, key, value = torch.randn(3, 2, 4, 10, 16, generator=torch.Generator().manual_seed(0)).unbind()
    assert torch.equal(attention(query, key, value), _torch_attention(query, key, value))


def test_checkpointed_layers_are_made_again_by_the_same_attention(tmp_path) -> None:  # type: ignore[no-untyped-def]
    plain = Run(tmp_path / "plain", precision="amp_bf16")
    saving = Run(tmp_path / "saving", precision="amp_bf16", resources={"gradient_checkpointing": True})
    assert F.scaled_dot_product_attention is attention
    for run in (plain, saving):
        run.go()
    assert plain.weights == saving.weights
