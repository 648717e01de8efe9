"""Number formats of a training step, and of an evaluation: fp32, TF32, and mixed precision in fp16 or bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import EvaluationError, TrainingError
from ..study.config.training import GPU_PRECISIONS


class Precision:
    """What a recipe's `precision` means on a device. TrainingError where the device cannot do it."""

    def __init__(self, name: str, device: torch.device) -> None:
        if device.type != "cuda" and name in GPU_PRECISIONS:
            raise TrainingError(
                f"recipe.precision {name!r} needs a CUDA device, and this job runs on {device.type}. "
                "Use fp32 or amp_bf16, or give the job a GPU (resources.train.gpus)."
            )
        if name == "amp_bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
            raise TrainingError(
                f"{torch.cuda.get_device_name(device)} has no bfloat16. Use recipe.precision fp32, tf32 or amp."
            )
        self.name, self.device = name, device
        self.dtype = {"amp": torch.float16, "amp_bf16": torch.bfloat16}.get(name)
        torch.set_float32_matmul_precision("high" if name == "tf32" else "highest")
        torch.backends.cudnn.allow_tf32 = name == "tf32"
        self.scaler = torch.amp.GradScaler("cuda", enabled=name == "amp")
        if name == "amp_bf16" and device.type == "cpu":
            F.scaled_dot_product_attention = attention  # type: ignore[assignment]

    def found_inf(self, optimizer: torch.optim.Optimizer, blocked: Tensor) -> Tensor:
        """What keeps a fused optimizer from moving, () float32: 1 where blocked is 1 or the scaler found an inf."""
        if not self.scaler.is_enabled():
            return blocked
        # torch has no public name for these; `GradScaler.step` hands them to a fused optimizer just so.
        found = [value.to(blocked) for value in self.scaler._found_inf_per_device(optimizer).values()]
        return torch.stack([blocked, *found]).amax()

    def update_unless(self, hold: Tensor) -> None:
        """Let the gradient scaler learn from the step, but not where hold, () float32, is 1: decided on the device."""
        if not self.scaler.is_enabled():
            return
        tensors = self.scaler._check_scale_growth_tracker("update")
        kept = [tensor.clone() for tensor in tensors]
        self.scaler.update()
        for tensor, before in zip(tensors, kept, strict=True):
            tensor.copy_(torch.where(hold > 0, before, tensor))

    def load_scaler(self, state: dict[str, Any]) -> None:
        """Take the gradient scaler's state, also in the middle of a step that is given up."""
        if self.scaler.is_enabled():
            self.scaler._per_optimizer_states.clear()
        self.scaler.load_state_dict(state)

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Run a forward pass in this precision."""
        if self.dtype is None:
            yield
        else:
            with torch.autocast(self.device.type, dtype=self.dtype):
                yield


@contextmanager
def tf32(is_allowed: bool) -> Iterator[None]:
    """Let a GPU's products and convolutions run in TF32, or not, whatever torch is set to before and after."""
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if is_allowed else "highest")
    torch.backends.cudnn.allow_tf32 = is_allowed
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(products)
        torch.backends.cudnn.allow_tf32 = convolutions


@contextmanager
def number_format(name: str, device: torch.device) -> Iterator[None]:
    """Run forward passes in `evaluation.precision`: fp32 throughout, TF32, or bf16 autocast."""
    before: Any = F.scaled_dot_product_attention
    if name == "bf16" and device.type == "cpu":
        F.scaled_dot_product_attention = attention  # type: ignore[assignment]
    try:
        with tf32(name == "tf32"), torch.autocast(device.type, dtype=torch.bfloat16, enabled=name == "bf16"):
            yield
    finally:
        F.scaled_dot_product_attention = before


def require_number_format(name: str, device: torch.device) -> None:
    """EvaluationError where a device cannot encode in a number format."""
    if name == "tf32" and device.type != "cuda":
        raise EvaluationError(
            f"precision 'tf32' needs a CUDA device, and this job runs on {device.type}",
            remedy="Use fp32 or bf16, or evaluate on a GPU.",
        )
    if name == "bf16" and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        raise EvaluationError(
            f"{torch.cuda.get_device_name(device)} has no bfloat16", remedy="Use precision fp32 or tf32."
        )


_torch_attention = F.scaled_dot_product_attention


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **more: Any,
) -> Tensor:
    """torch's scaled_dot_product_attention, but two plain products and a softmax for bfloat16 on a CPU.

    There torch's flash kernel takes five times as long as these, and its "math" kernel two and a half times (one layer
    of 65 tokens, forward and backward). query, key, value: (..., tokens, width). Returns (..., tokens, width).
    """
    is_plain = attn_mask is None or attn_mask.is_floating_point()
    if query.dtype != torch.bfloat16 or query.is_cuda or not is_plain or dropout_p or is_causal or any(more.values()):
        return _torch_attention(query, key, value, attn_mask, dropout_p, is_causal, **more)
    scores = query * query.shape[-1] ** -0.5 @ key.transpose(-2, -1)
    if attn_mask is not None:
        scores = scores + attn_mask
    return scores.softmax(-1) @ value
