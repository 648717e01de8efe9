"""The perceptual hash: the same for one picture whatever its size, different for different ones."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

from clip_scaling.data.duplicates.hash import perceptual_hashes


def scenes(count: int, size: int = 128) -> list[Image.Image]:
    """Smooth random pictures: distinct at low frequencies, as photographs are."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return [Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC) for picture in coarse]


def test_the_hash_is_the_signs_of_low_frequencies_about_their_median() -> None:
    # Of one horizontal cosine, cos(pi (x + 1/2) 3 / 32), all 64 coefficients but (0, 0) and (0, 3) are zero.
    wave = 128 + 100 * np.cos(np.pi * (np.arange(32) + 0.5) * 3 / 32)
    image = Image.fromarray(np.tile(wave, (32, 1)).round().astype(np.uint8))
    [bits] = np.unpackbits(perceptual_hashes([image]).view(np.uint8)).reshape(1, 8, 8)
    assert bits[0, 0] == 1 and bits[0, 3] == 1


def test_different_pictures_have_different_hashes_and_changed_ones_keep_theirs() -> None:
    pictures = scenes(50)
    hashes = perceptual_hashes(pictures)
    assert len(set(hashes.tolist())) == 50

    def equal(changed: list[Image.Image]) -> float:
        return float(np.mean(perceptual_hashes(changed) == hashes))

    assert equal([picture.resize((256, 256), Image.Resampling.BICUBIC) for picture in pictures]) > 0.8
    assert equal([picture.filter(ImageFilter.GaussianBlur(1)) for picture in pictures]) > 0.8
    assert equal([picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for picture in pictures]) == 0


def test_transparent_pictures_lie_on_white() -> None:
    picture = scenes(1)[0]
    clear = picture.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    white = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    assert perceptual_hashes([clear]) == perceptual_hashes([white])
