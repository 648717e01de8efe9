"""The perceptual hash of an image: equal or near for the same picture, whatever its size and compression.

The hash is the DCT one of 64 bits (Zauner 2010; as the package imagehash has it): grey, 32 x 32 pixels, the signs of
the 8 x 8 lowest frequencies about their median. It survives blur, scale and small changes of colour; different
pictures on an even ground may share one.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn

Hashes = NDArray[np.uint64]
PLAIN_CONTRAST = 2.0
"""Standard deviation of grey levels (of 255) below which an image is plain: noise alone decides its hash."""
_SIDE, _KEPT, _BATCH = 32, 8, 4096


def perceptual_hashes(images: Iterable[Image.Image]) -> Hashes:
    """(n,) DCT hashes, one an image."""
    return hashes_and_contrasts(images)[0]


def hashes_and_contrasts(images: Iterable[Image.Image]) -> tuple[Hashes, NDArray[np.float32]]:
    """(n,) DCT hashes, and (n,) standard deviations of the grey levels that they were computed of."""
    hashes, contrasts = [np.empty(0, np.uint64)], [np.empty(0, np.float32)]
    grey: list[NDArray[np.float32]] = []

    def finish() -> None:
        stack = np.stack(grey)
        hashes.append(_hash(stack))
        contrasts.append(stack.std(axis=(1, 2)))
        grey.clear()

    for image in images:
        grey.append(np.asarray(_on_white(image).resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), dtype=np.float32))
        if len(grey) == _BATCH:
            finish()
    if grey:
        finish()
    return np.concatenate(hashes), np.concatenate(contrasts)


def _on_white(image: Image.Image) -> Image.Image:
    """Make an image grey, with white where it is transparent."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        whole = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)
    return image.convert("L")


def _hash(grey: NDArray[np.float32]) -> Hashes:
    """Hash grey images: (n, 32, 32) -> (n,)."""
    low = dctn(grey, axes=(1, 2))[:, :_KEPT, :_KEPT].reshape(len(grey), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64).ravel()
