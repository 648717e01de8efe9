"""Number formats of a training step: fp32, TF32, and mixed precision in fp16 or bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import TrainingError
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

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Run a forward pass in this precision."""
        if self.dtype is None:
            yield
        else:
            with torch.autocast(self.device.type, dtype=self.dtype):
                yield


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
