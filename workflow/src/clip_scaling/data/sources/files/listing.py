"""The images of a folder or a table, each with its caption or the reason why it has none, before any image is read."""

from __future__ import annotations

import hashlib
import os
import posixpath
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ..filters import rows_as_json
from ..tables.config import SUFFIXES
from ..tables.read import ReadTable, read_table
from .config import FileSource, FolderSource, TableSource
from .places import IMAGE_SUFFIXES, walk


@dataclass(frozen=True)
class FileList:
    """table: columns identity, image (its path from `root`), caption, problem ("" or why it cannot be used), metadata
    (a JSON text), those for filters, row_of_file, and of images in the table image_offset and image_length.
    ignored: what else lies there, by kind. images: the file of images that the table holds; None: they are files."""

    root: Path
    table: pa.Table
    ignored: dict[str, int]
    images: Path | None = None


def list_files(recipe: FileSource, images: Path | None = None) -> FileList:
    """All images that the source's folder or table names. DataError where the table cannot be read.

    images: the file that takes images which a table holds itself; None: it may hold none.
    """
    if isinstance(recipe, FolderSource):
        return _of_folder(Path(recipe.path).expanduser())
    assert isinstance(recipe, TableSource)
    return _of_table(Path(recipe.path).expanduser(), recipe, images)


def _of_folder(root: Path) -> FileList:
    images: list[str] = []
    texts: set[str] = set()
    ignored = {"captions_without_image": 0, "hidden_files": 0, "linked_folders": 0, "other_files": 0}
    for folder, files, links in walk(str(root)):
        ignored["linked_folders"] += len(links)
        below = os.path.relpath(folder, root)
        for name in files:
            path = posixpath.normpath(posixpath.join(below.replace(os.sep, "/"), name))
            if name.startswith("."):
                ignored["hidden_files"] += 1
            elif name.lower().endswith(IMAGE_SUFFIXES):
                images.append(path)
            elif name.endswith(".txt"):
                texts.add(path)
            else:
                ignored["other_files"] += 1
    images.sort()
    ignored["captions_without_image"] = len(texts - {_text_of(image) for image in images})
    # Small files on a network's file system are a matter of waiting, not of work.
    with ThreadPoolExecutor(32) as pool:
        captions = list(pool.map(lambda image: _read_caption(root, image, texts), images))
    problems = ["" if _is_text(image) else "path_not_utf8" for image in images]
    shown = [image.encode("utf-8", "backslashreplace").decode() for image in images]
    table = pa.table(
        {
            "identity": pa.array([_identity(image) for image in shown], pa.string()),
            "image": pa.array(shown, pa.string()),
            "caption": pa.array([caption for caption, _ in captions], pa.string()),
            "problem": [first or second for first, (_, second) in zip(problems, captions, strict=True)],
            "metadata": pa.array(["{}"] * len(images), pa.string()),
        }
    )
    return FileList(root, table, {kind: count for kind, count in ignored.items() if count})


def _text_of(image: str) -> str:
    return posixpath.splitext(image)[0] + ".txt"


def _read_caption(root: Path, image: str, texts: set[str]) -> tuple[str, str]:
    """(caption on one line, problem)."""
    path = _text_of(image)
    if path not in texts:
        return "", "missing_caption"
    try:
        # utf-8-sig: some editors begin a text with a mark of its byte order.
        return _on_one_line((root / path).read_text(encoding="utf-8-sig")), ""
    except (OSError, UnicodeDecodeError):
        return "", "unreadable_caption"


def _of_table(path: Path, recipe: TableSource, images: Path | None) -> FileList:
    suffix = next(end for end in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(end))
    with open(images, "wb") if images is not None else nullcontext() as file:
        found = read_table(path, suffix, recipe.columns, recipe, file)
    listed = found.table
    root = Path(recipe.root).expanduser() if recipe.root is not None else path.parent
    captions = [_on_one_line(caption or "") for caption in listed["caption"].to_pylist()]
    start = os.path.abspath(root)
    if found.images is not None:
        places = _embedded(found, start)
    else:
        places = [_file(image, start) for image in listed["image"].to_pylist()]
    names = [_identity(f"{place.name}\n{caption}") for place, caption in zip(places, captions, strict=True)]
    problems = [place.problem or problem for place, problem in zip(places, found.problem.to_pylist(), strict=True)]
    extra = listed.select([name for name in listed.column_names if name not in ("image", "caption")])
    table = pa.table(
        {
            "identity": pa.array(names, pa.string()),
            "image": pa.array([place.image for place in places], pa.string()),
            "caption": pa.array(captions, pa.string()),
            "problem": pa.array(problems, pa.string()),
            "metadata": pa.array(rows_as_json(extra) if extra.num_columns else ["{}"] * len(listed), pa.string()),
            "row_of_file": pa.array(found.row),
            "image_offset": pa.array([place.offset for place in places], pa.int64()),
            "image_length": pa.array([place.length for place in places], pa.int64()),
            **{name: extra[name] for name in extra.column_names},
        }
    )
    return FileList(root, table, {}, images if found.images is not None else None)


class _Place(NamedTuple):
    """image: what it is called. name: what its identity is made of. offset, length: in the file of images, if there."""

    image: str
    problem: str
    name: str
    offset: int | None = None
    length: int | None = None


def _embedded(found: ReadTable, start: str) -> list[_Place]:
    """Places of images in a table; those that it only names are files."""
    places = []
    for image, row in zip(found.images or [], found.row.tolist(), strict=True):
        if image.at is None:
            places.append(_file(image.path, start))
        else:
            places.append(_Place(image.path or f"row {row}", "", image.sha256, *image.at))
    return places


def _file(image: str | None, start: str) -> _Place:
    path, problem = _place(image, start)
    return _Place(path, problem, path)


def _place(image: str | None, start: str) -> tuple[str, str]:
    """(path from the root, problem) of a path as a table has it. start: the root, absolute."""
    if not image or not image.strip():
        return "", "no_path"
    below = os.path.relpath(image, start) if os.path.isabs(image) else os.path.normpath(image)
    below = below.replace(os.sep, "/")
    return (image, "outside_root") if below == ".." or below.startswith("../") else (below, "")


def _on_one_line(caption: str) -> str:
    return " ".join(caption.split())


def _is_text(path: str) -> bool:
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _identity(text: str) -> str:
    """`file:` and 128 bits of a hash: of an image's path in its folder; in a table of its path and caption."""
    return "file:" + hashlib.sha256(text.encode("utf-8")).hexdigest()[:32]
