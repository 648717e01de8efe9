"""SVG to RGB pixels on white, in worker processes, in order."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import resvg_py
from PIL import Image

from ...progress import Progress
from ...workers import ordered_map

_CHUNK = 512
MAX_DEPTH = 128
"""Elements inside each other, at most: drawings have ten."""
_IMAGE = re.compile(r"<\s*(?:[\w.-]+:)?(?:fe)?image\b", re.IGNORECASE)
_OUTSIDE = re.compile(r"""href\s*=\s*(["'])\s*(?!data:|#)""", re.IGNORECASE)
_TAG = re.compile(r"""<(?P<end>/)?[\w:](?:[^<>"']|"[^"]*"|'[^']*')*?(?P<alone>/)?>""")


class Raster(NamedTuple):
    """png: the encoded RGB image. pixels: digest of its pixels. refused: "" or why there is no image."""

    png: bytes
    pixels: bytes
    refused: str = ""


def encode(pixels: np.ndarray) -> Raster:
    """(H, W, 3) uint8 pixels as PNG with their digest; refused as "blank" where all are white."""
    if (pixels == 255).all():
        return Raster(b"", b"", "blank")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return Raster(buffer.getvalue(), hashlib.blake2b(pixels.tobytes(), digest_size=16).digest())


def render(svg: str, size: int) -> Raster:
    """Draw an SVG that declares itself as a square of `size` pixels, on white.

    One that names files or is nested very deeply is refused: the drawing library would read the files of this machine,
    and end the process.
    """
    if _names_files(svg) or _is_deep(svg):
        return Raster(b"", b"", "unsafe")
    try:
        png = resvg_py.svg_to_bytes(svg_string=svg, background="white", skip_system_fonts=True)
    except ValueError:
        return Raster(b"", b"", "unrenderable")
    with Image.open(io.BytesIO(bytes(png))) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.shape == (size, size, 3), f"drawn as {pixels.shape}: {svg[:200]}"
    return encode(pixels)


def _names_files(svg: str) -> bool:
    """Whether an image in it may come from outside of it; entities could hide that."""
    return "<!" in svg or (_IMAGE.search(svg) is not None and _OUTSIDE.search(svg) is not None)


def _is_deep(svg: str) -> bool:
    if svg.count("<") <= MAX_DEPTH:
        return False
    depth = 0
    for tag in _TAG.finditer(svg):
        depth += -1 if tag["end"] else 0 if tag["alone"] else 1
        if depth > MAX_DEPTH:
            return True
    return False


def _render_chunk(svgs: Sequence[str], size: int) -> list[Raster]:
    return [render(svg, size) for svg in svgs]


def render_all(svgs: Sequence[str], size: int, workers: int) -> list[Raster]:
    """Render every SVG; the result does not depend on the number of worker processes."""
    chunks = [svgs[start : start + _CHUNK] for start in range(0, len(svgs), _CHUNK)]
    work = partial(_render_chunk, size=size)
    with ordered_map(workers) as mapped:
        return _gather(mapped(work, chunks), len(svgs))


def _gather(results: Iterable[list[Raster]], total: int) -> list[Raster]:
    rasters: list[Raster] = []
    progress = Progress("rendered", total)
    for chunk in results:
        rasters.extend(chunk)
        progress.add(len(chunk))
    return rasters
