"""Where the files of sources of kind folder and table lie: what is watched for changes."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif")
"""Images that are read where nothing else is said."""
FORMATS = {
    **{".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".webp": "WEBP", ".gif": "GIF"},
    **{".bmp": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".avif": "AVIF"},
}
"""Pillow's names of the formats by suffix."""


@cache
def folders_of(path: str) -> list[str]:
    """A folder and all that are below it, sorted: a folder's time changes with its names, not with a file's content.

    Hidden folders and links to folders are no part of it.
    """
    return sorted(folder for folder, _, _ in walk(path))


def walk(path: str) -> list[tuple[str, list[str], list[str]]]:
    """(folder, its files, its links to folders) of a tree, without hidden folders; such links are not followed."""
    found = []
    for folder, subfolders, files in os.walk(Path(path).expanduser()):
        links = [name for name in subfolders if os.path.islink(os.path.join(folder, name))]
        subfolders[:] = sorted(name for name in subfolders if not name.startswith(".") and name not in links)
        found.append((folder, sorted(files), links))
    return found
