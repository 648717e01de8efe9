"""Number formats of a training step: fp32, TF32, and mixed precision in fp16 or bfloat16."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..errors import TrainingError


class Precision:
    """What a recipe's `precision` means on a device. TrainingError where the device cannot do it."""

    def __init__(self, name: str, device: torch.device) -> None:
        if device.type != "cuda" and name in ("amp", "tf32"):
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

    @contextmanager
    def forward(self) -> Iterator[None]:
        """Run a forward pass in this precision."""
        with ExitStack() as stack:
            if self.dtype is not None:
                stack.enter_context(torch.autocast(self.device.type, dtype=self.dtype))
                if self.device.type == "cpu":
                    # The bfloat16 flash kernel for CPUs takes longer than plain products (docs/training.md).
                    stack.enter_context(sdpa_kernel(SDPBackend.MATH))
            yield
