"""Random resized crops whose draws depend on (seed, epoch, pair) alone, not on a worker's or a rank's state."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .order import Indices, key, uniforms

RATIO = (3 / 4, 4 / 3)
"""Bounds of a crop's width over its height, as in torchvision's RandomResizedCrop, which open_clip trains with."""


def crop_boxes(
    scale: tuple[float, float], seed: int, epochs: Indices, indices: Indices, sizes: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Boxes (left, upper, right, lower) in pixels, (n, 4), one for each pair.

    scale: bounds of the box's area as a share of the image's. sizes: (n, 2) width and height of the images.
    A box that would not fit is made narrower or flatter until it does.
    """
    u = np.empty((4, len(indices)))
    for epoch in np.unique(epochs):
        same = epochs == epoch
        for number in range(4):
            u[number, same] = uniforms(key(seed, int(epoch), 5, number), indices[same])
    width, height = sizes.T.astype(float)
    area = width * height * (scale[0] + u[0] * (scale[1] - scale[0]))
    ratio = np.exp(math.log(RATIO[0]) + u[1] * (math.log(RATIO[1]) - math.log(RATIO[0])))
    wide = np.clip(np.rint(np.sqrt(area * ratio)), 1, width)
    high = np.clip(np.rint(np.sqrt(area / ratio)), 1, height)
    left = np.floor(u[2] * (width - wide + 1))
    upper = np.floor(u[3] * (height - high + 1))
    return np.stack([left, upper, left + wide, upper + high], axis=1).astype(np.int64)


def fit(image: Image.Image, size: int, box: NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """(size, size, 3) uint8 pixels of an RGB image: the box, or the centre square, resized as open_clip does."""
    if box is None:
        side = min(image.size)
        x, y = (image.width - side) // 2, (image.height - side) // 2
        box = np.array([x, y, x + side, y + side])
    left, upper, right, lower = (float(edge) for edge in box)
    if (left, upper, right, lower) != (0, 0, size, size) or image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, upper, right, lower))
    return np.asarray(image)
