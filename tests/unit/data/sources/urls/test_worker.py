"""What img2dataset's worker makes of odd images, in its own environment."""

from __future__ import annotations

import io
import os
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_scaling.data.shards.limits import MAX_PIXELS
from clip_scaling.data.sources.urls.download import img2dataset_python
from clip_scaling.data.sources.urls.failures import failure_class
from clip_scaling.errors import DataError

from ...pictures import COLOUR, GREY, TRANSPARENT, png

pytestmark = pytest.mark.network

RESIZE = """
import io, sys
from clip_scaling.data.sources.urls.worker import CheckedResizer
options = {"image_size": 8, "resize_mode": "keep_ratio", "resize_only_if_bigger": True}
resizer = CheckedResizer(1, 10**8, **options, encode_format="png", encode_quality=6)
image, *_, error = resizer(io.BytesIO(sys.stdin.buffer.read()))
sys.stderr.write(f"said: {error}")
sys.stdout.buffer.write(image or b"")
"""


def resized(repository: Path, content: bytes) -> tuple[bytes, str]:
    """(image, what was said) of an image as it is served."""
    try:
        python = img2dataset_python()
    except DataError:
        pytest.skip("make env-img2dataset")
    environment = os.environ | {"PYTHONPATH": str(repository / "workflow/src"), "NO_ALBUMENTATIONS_UPDATE": "1"}
    environment["OPENCV_IO_MAX_IMAGE_PIXELS"] = str(MAX_PIXELS)
    done = subprocess.run([str(python), "-c", RESIZE], input=content, env=environment, capture_output=True, check=True)
    return done.stdout, done.stderr.decode().rpartition("said: ")[2]


@pytest.mark.parametrize(("colour", "samples"), [(GREY, 1), (COLOUR, 3), (TRANSPARENT, 4)])
def test_images_of_sixteen_bits_are_scaled_not_clipped_to_white(repository: Path, colour: int, samples: int) -> None:
    values = [0, 257, 25_700, 65_535]
    row = b"".join(
        struct.pack(f">{samples}H", *([value] * min(samples, 3) + [65_535] * (samples - 3))) for value in values
    )
    image, said = resized(repository, png((4, 4), 16, colour, [row] * 4))
    assert said == "None"
    shown = np.asarray(Image.open(io.BytesIO(image)).convert("L"))
    assert shown[0].tolist() == [0, 1, 100, 255]


def test_a_png_that_unpacks_to_gigabytes_is_refused_by_its_header(repository: Path) -> None:
    image, said = resized(repository, png((9_460, 9_460), 16, GREY, []))
    assert image == b"" and failure_class(said) == "image_pixels"
