"""One image file: whether it can be used, and the bytes that are stored of it."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageOps

from .config import FileSource

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF")
_KEPT = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_ENCODERS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_ORIENTATION, _SIDEWAYS = 0x0112, (5, 6, 7, 8)


class Look(NamedTuple):
    """What is known of a file that was read. reason: why it cannot be used, or "". width, height: pixels, upright."""

    reason: str
    sha256: str = ""
    image_bytes: int = 0
    width: int = 0
    height: int = 0


def look(path: Path, recipe: FileSource) -> Look:
    """Read a file and decode its image in full; a JPEG at a smaller scale, which finds the same damage faster."""
    try:
        about = os.stat(path)
        if not stat.S_ISREG(about.st_mode):
            return Look("missing_image")
        if not recipe.min_image_bytes <= about.st_size <= recipe.max_image_bytes:
            return Look("image_bytes", image_bytes=about.st_size)
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return Look("missing_image")
    except (OSError, ValueError):  # no permission, a name too long, a null byte in it
        return Look("unreadable_image")
    try:
        with _open(content) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION, 1) in _SIDEWAYS:
                width, height = height, width
            image.draft("RGB", (recipe.image_size, recipe.image_size))
            image.load()
    except MemoryError:
        raise
    except Exception:  # Pillow's decoders raise whatever the damage leads them to
        return Look("unreadable_image")
    reason = "image_side" if min(width, height) < recipe.min_image_side else ""
    return Look(reason, hashlib.sha256(content).hexdigest(), len(content), width, height)


def stored(content: bytes, recipe: FileSource) -> tuple[str, bytes]:
    """(extension, bytes) of an image as it goes into a tar: at its size for storage, upright, RGB, on white.

    An image that is so already keeps its bytes. Of an animation the first picture is taken.
    """
    with _open(content) as image:
        pick = max if recipe.resize == "keep_ratio_largest" else min
        scale = 1.0 if recipe.resize == "no" else min(1.0, recipe.image_size / pick(image.size))
        turn = image.getexif().get(_ORIENTATION, 1)
        is_plain = turn == 1 and image.mode in ("RGB", "L") and "transparency" not in image.info
        if scale == 1.0 and is_plain and image.format in _KEPT and getattr(image, "n_frames", 1) == 1:
            return _KEPT[image.format], content
        width, height = (max(1, round(side * scale)) for side in image.size)
        image.draft("RGB", (2 * width, 2 * height))  # a JPEG is decoded at the nearest larger scale, in far less time
        upright = _on_white(ImageOps.exif_transpose(image))
        if scale < 1.0:
            size = (height, width) if turn in _SIDEWAYS else (width, height)
            upright = upright.resize(size, Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        options = {"compress_level" if recipe.encode_format == "png" else "quality": recipe.encode_quality}
        upright.save(buffer, _ENCODERS[recipe.encode_format], **options)
        return recipe.encode_format, buffer.getvalue()


def _open(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content), formats=_FORMATS)


def _on_white(image: Image.Image) -> Image.Image:
    if "A" in image.getbands() or "transparency" in image.info:
        layered = image.convert("RGBA")
        ground = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(ground, layered).convert("RGB")
    return image.convert("RGB")
