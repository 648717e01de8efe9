"""Copies of batches to a device on a stream of their own, beside the work of the device."""

from __future__ import annotations

import torch
from torch import Tensor


class SideStream:
    """Copies to `device`; on a CPU, copies in memory. The memory copied from may be used again once `copy` returns."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def copy(self, pixels: Tensor) -> Tensor:
        """The same values on the device, there when this returns. Call it from any thread."""
        if self.stream is None:
            return pixels.clone()
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            there = pixels.to(self.device, non_blocking=True)
            copied = torch.cuda.Event(blocking=True)
            copied.record(self.stream)
        copied.synchronize()
        return there

    def hand_over(self, there: Tensor) -> Tensor:
        """Let the device's own stream use what was copied. Call it from the thread that does."""
        if self.stream is not None:
            there.record_stream(torch.cuda.current_stream(self.device))
        return there
