"""Crops that are resized on the device are Pillow's."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clip_scaling.train import resample as module
from clip_scaling.train.augment import crop_boxes
from clip_scaling.train.resample import resample


def scenes(count: int, height: int, width: int) -> NDArray[np.uint8]:
    """Images with the spectrum of photographs (1/f), sharp edges, text and noise."""
    draws = np.random.default_rng(height * 1000 + width)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = 1
    images = []
    for number in range(count):
        waves = np.fft.rfft2(draws.normal(size=(3, height, width)), axes=(1, 2)) / frequency
        smooth = np.fft.irfft2(waves, s=(height, width), axes=(1, 2)).transpose(1, 2, 0)
        smooth = 128 + 50 * smooth / smooth.std()
        image = Image.fromarray(np.clip(smooth, 0, 255).astype(np.uint8))
        drawn = ImageDraw.Draw(image)
        x, y = draws.integers(0, width), draws.integers(0, height)
        drawn.rectangle([x // 2, y // 2, x, y], fill=tuple(int(level) for level in draws.integers(0, 256, 3)))
        drawn.ellipse([x // 3, y // 3, width - 1, height - 1], outline="white")
        drawn.text((width // 8, height // 3), f"crop {number}", fill="black")
        noisy = np.asarray(image) + draws.normal(0, 4, (height, width, 3))
        images.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return np.stack(images)


def by_pillow(images: NDArray[np.uint8], boxes: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    rows = [
        np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC, box=tuple(box.tolist())))
        for image, box in zip(images, boxes, strict=True)
    ]
    return np.stack(rows).astype(np.int64)


def as_tf32(weights: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Weights with ten bits behind the point, as a GPU's products take them."""
    return lambda *about: ((weights(*about).view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (8, 8, 8),
        (32, 32, 32),
        (64, 64, 48),
        (48, 80, 64),
        (224, 224, 224),
        (256, 256, 224),
        (150, 60, 224),
        (7, 90, 16),
    ],
)
def test_boxes_of_any_size_are_resized_as_by_pillow(
    height: int, width: int, size: int, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if precision == "tf32":
        monkeypatch.setattr(module, "_weights", as_tf32(module._weights))
    count = 24
    images, sizes = scenes(count, height, width), np.tile([width, height], (count, 1))
    boxes = crop_boxes((0.05, 1.0), 3, np.zeros(count, dtype=np.int64), np.arange(count), sizes)
    boxes[0] = [0, 0, width, height]
    boxes[1] = [width // 2, height // 2, width // 2 + 1, height // 2 + 1]  # one pixel
    found = resample(torch.from_numpy(images), torch.from_numpy(boxes), size)
    assert found.shape == (count, size, size, 3) and found.dtype == torch.uint8
    difference = np.abs(found.numpy().astype(np.int64) - by_pillow(images, boxes, size))
    assert difference.mean(axis=(1, 2, 3)).max() <= 1 and difference.max() <= 3
    assert difference.mean() < 0.1


def test_the_whole_of_an_image_of_the_size_is_left_as_it_is() -> None:
    images = torch.from_numpy(scenes(3, 16, 16))
    assert torch.equal(resample(images, torch.tensor([[0, 0, 16, 16]] * 3), 16), images)


def test_images_do_not_depend_on_those_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IMAGES", 4)
    images, sizes = scenes(10, 24, 24), np.full((10, 2), 24)
    boxes = torch.from_numpy(crop_boxes((0.1, 1.0), 0, np.zeros(10, dtype=np.int64), np.arange(10), sizes))
    whole = resample(torch.from_numpy(images), boxes, 20)
    parts = [resample(torch.from_numpy(images[row : row + 1]), boxes[row : row + 1], 20) for row in range(10)]
    assert torch.equal(whole, torch.cat(parts))


def test_crops_left_to_the_device_are_those_that_pillow_makes() -> None:
    from clip_scaling.models.build import normalise
    from clip_scaling.train.inputs import Batch, PackedInput
    from clip_scaling.train.micro_batches import MicroBatches
    from clip_scaling.train.order import Order

    from .conftest import some_pairs

    pairs = some_pairs(64, noise=64)
    plain = PackedInput(pairs, Order([64], 0), (0.3, 1.0))
    positions = np.arange(16)
    indices = plain.order.indices(positions)
    boxes, whole = plain._boxes(positions, indices), torch.from_numpy(pairs.pixels[indices])
    batch = Batch(whole, torch.zeros(16, 2).long(), indices, boxes=torch.from_numpy(boxes))
    parts = MicroBatches(batch, batch.tokens.chunk(2), torch.device("cpu"), (0, 0, 0))
    found, expected = torch.cat([part.pixels for part in parts]), normalise(plain.batch(positions).pixels)
    level = normalise(torch.ones(1, 1, 1, 3).byte()) - normalise(torch.zeros(1, 1, 1, 3).byte())
    assert ((found - expected).abs() <= 1.01 * level).all() and not torch.equal(found, normalise(whole))
