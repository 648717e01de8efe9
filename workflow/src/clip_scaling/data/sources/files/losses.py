"""Why images were lost, in words, and the option that would read them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from .config import FileSource, FolderSource
from .listing import FileList

_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\")
_ADDRESS = re.compile(r"https?:/")
_SHOWN = 8


def explain_losses(name: str, recipe: FileSource, files: FileList, left_out: Sequence[tuple[str, str]]) -> str:
    """Sentences on what was found and wanted. left_out: (path, reason) of images."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in left_out:
        by_reason.setdefault(reason, []).append(path)
    found = [
        *_outside(name, files, by_reason.get("outside_root", [])),
        *_missing(name, files, by_reason.get("missing_image", [])),
        *_captions(name, recipe, files, by_reason.get("missing_caption", [])),
        *_formats(name, recipe, by_reason.get("unreadable_image", [])),
    ]
    if isinstance(recipe, FolderSource) and not len(files.table):
        found.append(_nothing(name, recipe, files))
    return " ".join(found)


def _outside(name: str, files: FileList, paths: list[str]) -> list[str]:
    sentences = []
    if drives := [path for path in paths if _DRIVE.match(path)]:
        sentences.append(
            f"{_count(drives)} of a Windows drive ({drives[0]}): write them from the folder that holds them, and name "
            f"that folder as `sources.{name}.root`."
        )
    if absolute := [path for path in paths if os.path.isabs(path)]:
        shared = os.path.commonpath([os.path.dirname(path) for path in absolute])
        sentences.append(
            f"{_count(absolute)} absolute and outside of {os.path.abspath(files.root)}: set `sources.{name}.root` to "
            f"the folder that they share, {shared}, or to one above it."
        )
    if above := [path for path in paths if not os.path.isabs(path) and not _DRIVE.match(path)]:
        sentences.append(
            f"{_count(above)} outside of {files.root} ({above[0]}): write them from the folder that holds them, and "
            f"name that folder as `sources.{name}.root`."
        )
    return sentences


def _missing(name: str, files: FileList, paths: list[str]) -> list[str]:
    if addresses := [path for path in paths if _ADDRESS.match(path)]:
        return [f"{_count(addresses)} addresses ({addresses[0]}): `kind: url_list` downloads them."]
    if not paths:
        return []
    return [
        f"{files.root / paths[0]} is not there: paths in the table start from `sources.{name}.root`, by default the "
        "table's folder."
    ]


def _captions(name: str, recipe: FileSource, files: FileList, paths: list[str]) -> list[str]:
    if not isinstance(recipe, FolderSource) or not paths:
        return []
    wanted = str(PurePosixPath(paths[0]).with_suffix(recipe.caption_suffix))
    sentence = f"The caption of {paths[0]} would be {wanted}"
    if not files.suffixes:
        return [f"{sentence}. No file of another kind lies there."]
    return [
        f"{sentence}. Other files there: {_listed(files.suffixes)}: `sources.{name}.caption_suffix` names the files of "
        "captions, and `caption_key` the caption in a .json."
    ]


def _formats(name: str, recipe: FileSource, paths: list[str]) -> list[str]:
    suffixes = Counter(PurePosixPath(path).suffix.lower() for path in paths)
    unknown = Counter({end: count for end, count in suffixes.items() if end not in recipe.image_suffixes})
    if not unknown:
        return []
    return [f"Unreadable are {_listed(unknown)}: `sources.{name}.image_suffixes` says which kinds of file are read."]


def _nothing(name: str, recipe: FolderSource, files: FileList) -> str:
    wanted = f"wanted are {', '.join(recipe.image_suffixes)}"
    if not files.suffixes:
        return f"{files.root} holds no file; {wanted}."
    return f"{files.root} holds {_listed(files.suffixes)}; {wanted}: `sources.{name}.image_suffixes` names others."


def _count(paths: Sequence[str]) -> str:
    return f"{len(paths):,} paths are" if len(paths) > 1 else "1 path is"


def _listed(suffixes: Counter[str]) -> str:
    """The most frequent suffixes with their numbers."""
    shown = ", ".join(f"{count:,} {end or 'without a suffix'}" for end, count in suffixes.most_common(_SHOWN))
    return f"{shown}, ..." if len(suffixes) > _SHOWN else shown
