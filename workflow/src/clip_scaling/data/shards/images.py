"""Open encoded images whatever odd thing lies in them beside the pixels, and bring deep greys to eight bits."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .limits import MAX_PIXELS

T = TypeVar("T")
_PNG = b"\x89PNG\r\n\x1a\n"
_BESIDE_PIXELS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_SIXTEEN_BITS = 65535
warnings.simplefilter("ignore", Image.DecompressionBombWarning)


def with_image(content: bytes, work: Callable[[Image.Image, bytes], T], formats: tuple[str, ...] | None = None) -> T:
    """Open an image and return what `work` makes of it and of its bytes. Raises whatever Pillow raises.

    Texts and profiles of a PNG are not used. Pillow refuses long or damaged ones: the image is then read without them,
    and `work` gets bytes without them.
    """
    try:
        with Image.open(io.BytesIO(content), formats=formats) as image:
            return work(image, content)
    except (ValueError, SyntaxError, OSError):
        plain = without_texts(content)
        if plain == content:
            raise
    with Image.open(io.BytesIO(plain), formats=formats) as image:
        return work(image, plain)


def without_texts(content: bytes) -> bytes:
    """Take texts and colour profiles out of a PNG; other files stay as they are."""
    if not content.startswith(_PNG):
        return content
    kept, place = [_PNG], len(_PNG)
    while place + 12 <= len(content):
        end = place + 12 + int.from_bytes(content[place : place + 4], "big")
        if content[place + 4 : place + 8] not in _BESIDE_PIXELS:
            kept.append(content[place:end])
        place = end
    return b"".join([*kept, content[place:]])


def decoded(image: Image.Image) -> Image.Image:
    """Decode an opened image as RGB. ValueError where it has more than MAX_PIXELS."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels are more than {MAX_PIXELS:,}")
    return eight_bits(image).convert("RGB")


def is_deep_grey(image: Image.Image) -> bool:
    """Whether an image is grey in 16 or 32 bits, which Pillow's `convert` clips to white above 255."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def eight_bits(image: Image.Image) -> Image.Image:
    """Scale grey of 16 or 32 bits to 8, black to black and white to white; other images stay as they are.

    White is the largest number of the depth. Integers of 32 bits and fractions have no depth of their own: white is
    then the least of 1 (fractions), 255, 65,535, 2^31 - 1 and 2^32 - 1 that no pixel exceeds. What is not a number or
    is below 0 in fractions becomes black. A transparent grey becomes white.
    """
    if not is_deep_grey(image):
        return image
    values = np.asarray(image)
    grey = Image.fromarray(_scaled(values, image.mode))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        grey.paste(255, None, Image.fromarray(values == clear))
    return grey


def _scaled(values: NDArray[Any], mode: str) -> NDArray[np.uint8]:
    """(height, width) numbers of any kind to (height, width) uint8."""
    tops: tuple[int, ...] = (255, _SIXTEEN_BITS, 2**31 - 1, 2**32 - 1)
    if mode == "F":
        values, tops = np.clip(np.nan_to_num(values, nan=0, posinf=0, neginf=0), 0, None), (1, *tops)
    elif mode == "I":
        values = values.view(np.uint32)
    else:
        tops = (_SIXTEEN_BITS,)
    largest = float(values.max())
    top = next((top for top in tops if largest <= top), largest)
    numbers = values.astype(np.float32)
    numbers *= np.float32(255 / top)
    return np.rint(numbers, out=numbers).astype(np.uint8)
