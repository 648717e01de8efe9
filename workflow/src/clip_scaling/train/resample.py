"""Crops resized on the device: Pillow's bicubic filter with antialiasing, as two small matrix products an image.

The filter is that of Pillow's `Image.resize(size, BICUBIC, box=box)`: a Keys kernel (a = -1/2) that widens when an
image shrinks, pixels beyond the box but within the image included, rounded to grey levels after each of two passes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_SUPPORT = 2.0
"""Reach of the kernel to each side, pixels, where the image does not shrink."""
_IMAGES = 128
"""Images resized at a time: a bound of the memory for their floats."""


def resample(pixels: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Resize boxes of images: (n, height, width, 3) uint8 -> (n, size, size, 3) uint8, on the device of the pixels.

    boxes: (n, 4) left, upper, right, lower in pixels, on the CPU: the device need not be waited for.
    """
    out = torch.empty((len(pixels), size, size, 3), dtype=torch.uint8, device=pixels.device)
    with _products(pixels.device):
        for begin in range(0, len(pixels), _IMAGES):
            some = slice(begin, begin + _IMAGES)
            out[some] = _resample(pixels[some], boxes[some], size)
    return out


def _resample(pixels: Tensor, boxes: Tensor, size: int) -> Tensor:
    count, height, width, _ = pixels.shape
    across = _weights(boxes[:, 0::2], width, size, pixels.device)
    down = _weights(boxes[:, 1::2], height, size, pixels.device)
    rows = pixels.permute(0, 1, 3, 2).to(torch.float32, memory_format=torch.contiguous_format)
    rows = _levels(torch.bmm(rows.reshape(count, height * 3, width), across.transpose(1, 2)))
    found = _levels(torch.bmm(down, rows.reshape(count, height, 3 * size)))
    return found.reshape(count, size, 3, size).permute(0, 1, 3, 2).to(torch.uint8)


def _levels(values: Tensor) -> Tensor:
    """Round to grey levels, in place."""
    return values.add_(0.5).floor_().clamp_(0, 255)


def _weights(edges: Tensor, source: int, size: int, device: torch.device) -> Tensor:
    """Weights of `source` pixels in each of `size` pixels of an axis, (n, size, source) float32; each row sums to 1.

    edges: (n, 2) where the box begins and ends, on the CPU.
    """
    longest = int((edges[:, 1] - edges[:, 0]).max())
    taps = min(source, 2 * math.ceil(_SUPPORT * max(1.0, longest / size)) + 1)
    low, high = (_sent(edges.T.contiguous(), device)).double()
    scale = ((high - low) / size)[:, None]
    stretch = scale.clamp(min=1.0)
    centres = low[:, None] + (torch.arange(size, device=device) + 0.5) * scale
    first = (centres - _SUPPORT * stretch + 0.5).floor().clamp(min=0)
    end = (centres + _SUPPORT * stretch + 0.5).floor().clamp(max=source)
    # A window of as many pixels everywhere: it begins earlier where the image ends.
    places = first.clamp(max=source - taps)[..., None] + torch.arange(taps, device=device)
    weights = _keys((places + 0.5 - centres[..., None]) / stretch[..., None])
    weights = weights * ((places >= first[..., None]) & (places < end[..., None]))
    weights = (weights / weights.sum(dim=-1, keepdim=True)).float()
    return weights.new_zeros((len(edges), size, source)).scatter_(2, places.long(), weights)


def _keys(distances: Tensor) -> Tensor:
    """The cubic kernel (Keys 1981) with a = -1/2, as Pillow's."""
    x = distances.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((x - 5) * x + 8) * x * -0.5 + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


@contextmanager
def _products(device: torch.device) -> Iterator[None]:
    """On a GPU products in TF32: pixels are exact in it, and weights within 2^-11, a tenth of a grey level."""
    if device.type != "cuda":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
