"""Models are built from their configs, and pixels normalised as open_clip does."""

from __future__ import annotations

import numpy as np
import torch

from clip_scaling.models.build import normalise


def test_pixels_are_normalised_as_open_clips_transform_does() -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = image_transform_v2(PreprocessCfg(size=16), is_train=False)(Image.fromarray(pixels))
    assert torch.allclose(normalise(torch.from_numpy(pixels)[None])[0], expected, atol=1e-6)
