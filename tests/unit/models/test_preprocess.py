"""Pixels are those of open_clip's evaluation transform."""

from __future__ import annotations

import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from clip_scaling.models.preprocess import Preprocess

from ..evaluate.examples import random_images


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_pixels_are_those_of_open_clips_transform(mode: str) -> None:
    config = {"size": 16, "mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4), "interpolation": "bilinear"}
    preprocess = Preprocess.of(config | {"resize_mode": mode, "fill_color": 3})
    theirs = image_transform_v2(PreprocessCfg(**config, resize_mode=mode, fill_color=3), is_train=False)
    for image in (*random_images(2, (20, 31)), random_images(1, (20, 31))[0].convert("P")):
        ours = preprocess.normalise(preprocess.pixels(image)[None])[0]
        torch.testing.assert_close(ours, theirs(image), atol=1e-6, rtol=1e-6)
