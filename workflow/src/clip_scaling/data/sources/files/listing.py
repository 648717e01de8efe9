"""The images of a folder or a table, each with its caption or the reason why it has none, before any image is read."""

from __future__ import annotations

import hashlib
import os
import posixpath
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PureWindowsPath
from typing import NamedTuple

import pyarrow as pa

from ....errors import DataError
from ...shards.read import captions_in_json
from ..filters import rows_as_json
from ..tables.config import SUFFIXES
from ..tables.read import ReadTable, joined, read_table
from .config import FileSource, FolderSource, TableSource
from .places import walk


@dataclass(frozen=True)
class FileList:
    """Images that were found. root: what their paths start from.

    table: columns identity, image (a path), caption, problem ("" or why it cannot be used), metadata (a JSON text),
    those for filters, row_of_file, and of images in the table image_offset and image_length.
    ignored: what else lies there, by kind. images: the file of images that the table holds; None: they are files.
    suffixes: of files in a folder that are neither image nor caption.
    """

    root: Path
    table: pa.Table
    ignored: dict[str, int]
    images: Path | None = None
    suffixes: Counter[str] = field(default_factory=Counter)


def list_files(recipe: FileSource, images: Path | None = None) -> FileList:
    """All images that the source's folder or table names. DataError where the table cannot be read.

    images: the file that takes images which a table holds itself; None: it may hold none.
    """
    if isinstance(recipe, FolderSource):
        return _of_folder(Path(recipe.path).expanduser(), recipe)
    assert isinstance(recipe, TableSource)
    return _of_table(recipe, images)


def _of_folder(root: Path, recipe: FolderSource) -> FileList:
    images: list[str] = []
    texts: set[str] = set()
    suffixes: Counter[str] = Counter()
    ignored = {"captions_without_image": 0, "hidden_files": 0, "linked_folders": 0, "other_files": 0}
    for folder, files, links in walk(str(root)):
        ignored["linked_folders"] += len(links)
        below = os.path.relpath(folder, root)
        for name in files:
            path = posixpath.normpath(posixpath.join(below.replace(os.sep, "/"), name))
            if name.startswith("."):
                ignored["hidden_files"] += 1
            elif name.lower().endswith(recipe.image_suffixes):
                images.append(path)
            elif name.endswith(recipe.caption_suffix):
                texts.add(path)
            else:
                ignored["other_files"] += 1
                suffixes[posixpath.splitext(name)[1].lower()] += 1
    images.sort()
    text_of = {image: posixpath.splitext(image)[0] + recipe.caption_suffix for image in images}
    ignored["captions_without_image"] = len(texts - set(text_of.values()))
    # Small files on a network's file system are a matter of waiting, not of work.
    with ThreadPoolExecutor(32) as pool:
        read = partial(_read_captions, root, texts=texts, key=recipe.caption_key)
        captions = list(pool.map(read, text_of.values()))
    rows = [
        (image, caption, "" if _is_text(image) else "path_not_utf8", problem, number)
        for number, (image, (found, problem)) in enumerate(zip(images, captions, strict=True))
        for caption in found
    ]
    shown = [image.encode("utf-8", "backslashreplace").decode() for image, *_ in rows]
    # An image with one caption is its path, so that a caption may be corrected and the pair keep its place.
    several = {image for image, (found, _) in zip(images, captions, strict=True) if len(found) > 1}
    names = [
        f"{name}\n{caption}" if image in several else name
        for name, (image, caption, *_) in zip(shown, rows, strict=True)
    ]
    table = pa.table(
        {
            "identity": pa.array([_identity(name) for name in names], pa.string()),
            "image": pa.array(shown, pa.string()),
            "caption": pa.array([caption for _, caption, *_ in rows], pa.string()),
            "problem": pa.array([path or caption for _, _, path, caption, _ in rows], pa.string()),
            "metadata": pa.array(["{}"] * len(rows), pa.string()),
            "row_of_file": pa.array([number for *_, number in rows], pa.int64()),
        }
    )
    return FileList(root, table, {kind: count for kind, count in ignored.items() if count}, suffixes=suffixes)


def _read_captions(root: Path, path: str, texts: set[str], key: str | None) -> tuple[list[str], str]:
    """(captions, each on one line, at least one; problem)."""
    if path not in texts:
        return [""], "missing_caption"
    try:
        # utf-8-sig: some editors begin a text with a mark of its byte order.
        text = (root / path).read_text(encoding="utf-8-sig")
        if key is None:
            return [_on_one_line(text)], ""
        found = captions_in_json(text.encode(), key)
    except (OSError, UnicodeDecodeError):
        return [""], "unreadable_caption"
    return ([_on_one_line(caption) for caption in found], "") if found else ([""], "missing_caption")


def _of_table(recipe: TableSource, images: Path | None) -> FileList:
    paths = recipe.tables()
    if not paths:
        raise DataError("no such table", place=recipe.path, remedy="Correct its place in the source.")
    with open(images, "wb") if images is not None else nullcontext() as file:
        found = joined([read_table(path, _suffix(path), recipe.columns, recipe, file) for path in paths])
    listed = found.table
    root = Path(recipe.root).expanduser() if recipe.root is not None else paths[0].parent
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


def _suffix(path: Path) -> str:
    return next(end for end in sorted(SUFFIXES, key=len, reverse=True) if path.name.endswith(end))


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
    if ("\\" in image or image[1:3] == ":/") and not os.path.exists(os.path.join(start, image)):
        windows = PureWindowsPath(image)
        if windows.drive or windows.root:
            return image, "outside_root"
        image = windows.as_posix()
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
