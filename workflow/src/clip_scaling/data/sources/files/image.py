"""One image file: whether it can be used, and the bytes that are stored of it."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from PIL import ExifTags, Image

from ...shards.images import eight_bits, with_image
from .config import FileSource
from .places import FORMATS

_KEPT = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_ENCODERS = {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_TRIED_SIDE = 16_000
"""Stored images with a longer side are encoded once for trial: WebP takes 16,383 pixels, JPEG 65,500."""
_STRIP_PIXELS = 1 << 20
"""Transparent images are laid on white a strip at a time, since each layer takes as much memory as the image."""


class Look(NamedTuple):
    """What is known of a file that was read. reason: why it cannot be used, or "". width, height: pixels, upright."""

    reason: str
    sha256: str = ""
    image_bytes: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class Place:
    """Where an image lies: a file, or a piece of one. offset, length: bytes; None: the whole file."""

    path: Path
    offset: int | None = None
    length: int | None = None

    def size(self) -> int | None:
        """Bytes; None where there is no file."""
        about = os.stat(self.path)
        if not stat.S_ISREG(about.st_mode):
            return None
        return about.st_size if self.length is None else self.length

    def read(self) -> bytes:
        """The encoded image."""
        with open(self.path, "rb") as file:
            file.seek(self.offset or 0)
            return file.read() if self.length is None else file.read(self.length)


def look(place: Place, recipe: FileSource) -> Look:
    """Read an image and decode it in full, as `stored` does: what is sound here can be stored."""
    try:
        size = place.size()
        if size is None:
            return Look("missing_image")
        if not recipe.min_image_bytes <= size <= recipe.max_image_bytes:
            return Look("image_bytes", image_bytes=size)
        content = place.read()
    except (FileNotFoundError, NotADirectoryError):
        return Look("missing_image")
    except (OSError, ValueError):  # no permission, a name too long, a null byte in it
        return Look("unreadable_image")
    try:
        reason, width, height = with_image(content, lambda image, _: _examine(image, recipe), _formats(recipe))
    except Image.DecompressionBombError:
        return Look("image_pixels")
    except MemoryError:
        raise
    except Exception:  # Pillow's decoders raise whatever the damage leads them to
        return Look("unreadable_image")
    return Look(reason, hashlib.sha256(content).hexdigest(), len(content), width, height)


def stored(content: bytes, recipe: FileSource) -> tuple[str, bytes]:
    """(extension, bytes) of an image as it goes into a tar: at its size for storage, upright, RGB, on white.

    An image that is so already keeps its bytes, less a PNG's texts where Pillow refuses them. Of an animation the first
    picture is taken.
    """
    return with_image(content, lambda image, opened: _stored(image, opened, recipe), _formats(recipe))


def _formats(recipe: FileSource) -> tuple[str, ...]:
    return tuple(dict.fromkeys(FORMATS[suffix] for suffix in recipe.image_suffixes))


@dataclass(frozen=True)
class _Plan:
    """What becomes of an opened image. size: in the file. decoded: pixels. turn: see `orientation`."""

    size: tuple[int, int]
    scale: float
    decoded: int
    turn: int = 0
    keeps_bytes: bool = False

    @property
    def upright_size(self) -> tuple[int, int]:
        return self._turned(self.size)

    @property
    def stored_size(self) -> tuple[int, int]:
        return self._turned(_scaled(self.size, self.scale))

    def _turned(self, size: tuple[int, int]) -> tuple[int, int]:
        return size[::-1] if self.turn in _SIDEWAYS else size


def _scaled(size: tuple[int, int], scale: float) -> tuple[int, int]:
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def _drafted(image: Image.Image, recipe: FileSource) -> _Plan:
    """Choose the scale of an opened image. Nothing is decoded yet."""
    size = image.size
    pick = max if recipe.resize == "keep_ratio_largest" else min
    scale = 1.0 if recipe.resize == "no" else min(1.0, recipe.image_size / pick(size))
    width, height = _scaled(size, scale)
    image.draft("RGB", (2 * width, 2 * height))  # a JPEG is decoded at the nearest larger scale, in far less time
    # Of a JPEG in many scans the coefficients of all pixels are held at once.
    width, height = size if image.info.get("progressive") else image.size
    return _Plan(size, scale, width * height)


def _planned(image: Image.Image, drafted: _Plan) -> _Plan:
    if image.format == "PNG":
        image.load()  # its EXIF may follow the pixels
    turn = orientation(image)
    is_plain = turn == 1 and image.mode in ("RGB", "L") and "transparency" not in image.info
    keeps = drafted.scale == 1.0 and is_plain and image.format in _KEPT and getattr(image, "n_frames", 1) == 1
    return replace(drafted, turn=turn, keeps_bytes=keeps)


def orientation(image: Image.Image) -> int:
    """How the camera was held, by EXIF, 1 to 8; another number where that cannot be read."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # damaged EXIF says nothing of the pixels
        return 0
    return found if isinstance(found, int) else 0


def _examine(image: Image.Image, recipe: FileSource) -> tuple[str, int, int]:
    """(reason, width, height)."""
    plan = _drafted(image, recipe)
    if plan.decoded > recipe.max_image_pixels:
        return "image_pixels", *plan.size
    plan = _planned(image, plan)
    upright = _upright(image, plan)
    if min(plan.size) < recipe.min_image_side:
        return "image_side", *plan.upright_size
    if not plan.keeps_bytes and max(plan.stored_size) > _TRIED_SIDE:
        try:
            _encode(upright, plan, recipe)
        except (OSError, ValueError):
            return "image_too_long", *plan.upright_size
    return "", *plan.upright_size


def _stored(image: Image.Image, opened: bytes, recipe: FileSource) -> tuple[str, bytes]:
    plan = _planned(image, _drafted(image, recipe))
    if plan.keeps_bytes:
        return _KEPT[image.format or ""], opened
    return recipe.encode_format, _encode(_upright(image, plan), plan, recipe)


def _upright(image: Image.Image, plan: _Plan) -> Image.Image:
    """Decode an image: upright, RGB, on white, not yet at its size."""
    image.load()
    grey = eight_bits(image)
    # Not ImageOps.exif_transpose: it writes the EXIF again, and fails where that is odd.
    return _on_white(grey.transpose(_TURNS[plan.turn]) if plan.turn in _TURNS else grey)


def _encode(upright: Image.Image, plan: _Plan, recipe: FileSource) -> bytes:
    if plan.scale < 1.0:
        upright = upright.resize(plan.stored_size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    options = {"compress_level" if recipe.encode_format == "png" else "quality": recipe.encode_quality}
    upright.save(buffer, _ENCODERS[recipe.encode_format], **options)
    return buffer.getvalue()


def _on_white(image: Image.Image) -> Image.Image:
    if "A" not in image.getbands() and "transparency" not in image.info:
        return image if image.mode == "RGB" else image.convert("RGB")
    whole = Image.new("RGB", image.size)
    rows = max(1, _STRIP_PIXELS // image.width)
    for top in range(0, image.height, rows):
        layered = image.crop((0, top, image.width, min(top + rows, image.height))).convert("RGBA")
        ground = Image.new("RGBA", layered.size, "white")
        whole.paste(Image.alpha_composite(ground, layered).convert("RGB"), (0, top))
    return whole
