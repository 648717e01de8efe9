"""Random crops follow from seed, epoch and pair alone."""

from __future__ import annotations

import numpy as np
import pytest

from clip_scaling.train.augment import crop_boxes, fit


def test_crops_depend_on_seed_epoch_and_pair_alone_and_keep_their_bounds() -> None:
    pairs, sizes = np.arange(500), np.full((500, 2), 64)
    boxes = crop_boxes((0.5, 1.0), 0, np.zeros(500, int), pairs, sizes)
    assert np.array_equal(boxes[100:], crop_boxes((0.5, 1.0), 0, np.zeros(400, int), pairs[100:], sizes[100:]))
    assert not np.array_equal(boxes, crop_boxes((0.5, 1.0), 0, np.ones(500, int), pairs, sizes))
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= 64).all()
    assert 0.45 < (width * height / 64**2).min() and (width * height / 64**2).mean() == pytest.approx(0.73, abs=0.04)


def test_the_whole_image_is_left_as_it_is_and_another_is_cropped_at_its_centre() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(fit(Image.fromarray(pixels), 8), pixels)
    wide = np.concatenate([np.zeros((8, 4, 3), np.uint8), pixels, np.zeros((8, 4, 3), np.uint8)], axis=1)
    assert np.array_equal(fit(Image.fromarray(wide), 8), pixels)
