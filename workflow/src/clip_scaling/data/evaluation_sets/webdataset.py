"""An evaluation set that lies in clip-benchmark's webdataset layout already: only its manifest is written."""

from __future__ import annotations

from pathlib import Path

from ...errors import DataError
from ...records.data import RETRIEVAL, EvaluationSetManifest
from ...records.filenames import MANIFEST
from ...records.files import FileEntry
from ..shards.write import clear
from .layout import CLASSES, TASKS, TEMPLATES, TYPE, count_path, tar_paths


def index_evaluation_set(root: Path, dataset: str, folder: Path) -> None:
    """Write the manifest of a set whose files lie in `folder`; nothing is copied.

    The manifest names the folder: its files are verified there. DataError where a part of the layout is missing.
    """
    kind = _text(folder / TYPE, "classification").strip()
    task = TASKS.get(kind)
    if task is None:
        raise DataError(f"{kind!r} is none of {', '.join(TASKS)}", place=str(folder / TYPE), remedy="Correct it.")
    classes, templates = ([], []) if task == RETRIEVAL else _prompts(folder)
    names = [count_path("test")] if task == RETRIEVAL else [count_path("test"), CLASSES, TEMPLATES]
    for split in ("test", "train"):
        if (folder / count_path(split)).is_file():
            names += [count_path(split), *tar_paths(folder, split)]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataError(
            f"{', '.join(missing)} is missing from the set {dataset}", place=str(folder), remedy="Get the set again."
        )
    clear(root)
    EvaluationSetManifest(
        dataset=dataset,
        source=str(folder),
        folder=str(folder),
        task=task,
        classes=classes,
        templates=templates,
        files=[FileEntry.of(folder / name, folder) for name in sorted(set(names))],
    ).write(root / MANIFEST)


def _prompts(folder: Path) -> tuple[list[str], list[str]]:
    """Class names and templates. DataError where two classes have one name."""
    classes, templates = (_text(folder / name).splitlines() for name in (CLASSES, TEMPLATES))
    twice = sorted({name for name in classes if classes.count(name) > 1})
    if twice:
        raise DataError(
            f"{', '.join(twice)} is there twice; no prompt can separate them",
            place=str(folder / CLASSES),
            remedy="Give each class a name of its own.",
        )
    return classes, templates


def _text(path: Path, default: str | None = None) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if default is not None:
            return default
        remedy = "It is part of clip-benchmark's webdataset layout."
        raise DataError("no such file", place=str(path), remedy=remedy) from None
