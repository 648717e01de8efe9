"""Number formats of an evaluation, and attention in bfloat16 on a CPU."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from clip_scaling.errors import EvaluationError
from clip_scaling.models.precision import _torch_attention, attention, number_format, require_number_format

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


@pytest.mark.parametrize("name", ["fp32", "tf32", "bf16"])
def test_a_number_format_is_what_it_says_and_leaves_torch_as_it_was(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's own default
    own = torch.get_float32_matmul_precision(), F.scaled_dot_product_attention
    with number_format(name, torch.device("cpu")):
        is_tf32 = name == "tf32"
        assert torch.backends.cudnn.allow_tf32 is is_tf32
        assert torch.get_float32_matmul_precision() == ("high" if is_tf32 else "highest")
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == (torch.bfloat16 if name == "bf16" else torch.float32)
    assert torch.backends.cudnn.allow_tf32 is True
    assert (torch.get_float32_matmul_precision(), F.scaled_dot_product_attention) == own


def test_tf32_is_refused_on_a_cpu() -> None:
    with pytest.raises(EvaluationError, match="'tf32' needs a CUDA device"):
        require_number_format("tf32", torch.device("cpu"))


@pytest.mark.gpu
def test_convolutions_in_fp32_are_fp32_on_a_gpu() -> None:
    device, generator = torch.device("cuda"), torch.Generator().manual_seed(0)
    image, kernel = torch.randn(4, 3, 64, 64, generator=generator), torch.randn(64, 3, 16, 16, generator=generator)
    exact = F.conv2d(image.double(), kernel.double(), stride=16)
    errors = {}
    for name in ("fp32", "tf32"):
        with number_format(name, device):
            found = F.conv2d(image.to(device), kernel.to(device), stride=16)
        errors[name] = float((found.double().cpu() - exact).abs().max())
    # A sum of 768 products of unit numbers: fp32 has 24 bits, TF32 11.
    assert errors["fp32"] < 1e-4 < errors["tf32"]
