"""The images of a folder or a table, each with its caption or the reason why it has none, before any image is read."""

from __future__ import annotations

import hashlib
import os
import posixpath
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ..filters import rows_as_json
from ..urls.lists import read_list
from .config import FileSource, FolderSource, TableSource
from .places import IMAGE_SUFFIXES, walk


@dataclass(frozen=True)
class FileList:
    """table: columns identity, image (its path from `root`), caption, problem ("" or why it cannot be used), metadata
    (a JSON text), and those for filters. ignored: what else lies there, by kind."""

    root: Path
    table: pa.Table
    ignored: dict[str, int]


def list_files(recipe: FileSource) -> FileList:
    """All images that the source's folder or table names. DataError where the table cannot be read."""
    if isinstance(recipe, FolderSource):
        return _of_folder(Path(recipe.path).expanduser())
    assert isinstance(recipe, TableSource)
    return _of_table(Path(recipe.path).expanduser(), recipe)


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


def _of_table(path: Path, recipe: TableSource) -> FileList:
    suffix = next(end for end in (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz") if path.name.endswith(end))
    listed = read_list(path, suffix, recipe.columns)
    root = Path(recipe.root).expanduser() if recipe.root is not None else path.parent
    start = os.path.abspath(root)
    placed = [_place(image, start) for image in listed["image"].to_pylist()]
    captions = [_on_one_line(caption or "") for caption in listed["caption"].to_pylist()]
    names = [_identity(f"{image}\n{caption}") for (image, _), caption in zip(placed, captions, strict=True)]
    extra = listed.select([name for name in listed.column_names if name not in ("image", "caption")])
    table = pa.table(
        {
            "identity": pa.array(names, pa.string()),
            "image": pa.array([image for image, _ in placed], pa.string()),
            "caption": pa.array(captions, pa.string()),
            "problem": pa.array([problem for _, problem in placed], pa.string()),
            "metadata": pa.array(rows_as_json(extra) if extra.num_columns else ["{}"] * len(listed), pa.string()),
            **{name: extra[name] for name in extra.column_names},
        }
    )
    return FileList(root, table, {})


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
