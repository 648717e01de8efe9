"""Names of checkpoints from elsewhere: two runs never have one name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ..errors import EvaluationError
from ..records.files import read_object, sha256_file

ANYONE_S = {"open_clip_model", "open_clip_pytorch_model", "pytorch_model", "model"}
"""Names of files that say nothing of the run."""
FOLDERS = {"checkpoints", "checkpoint", "ckpt", "ckpts", "snapshots"}
"""Names of folders that say nothing of it."""


def checkpoint_names(paths: Iterable[Path | str]) -> dict[str, str]:
    """Name each of these files: its stem, with as many of the folders above as tell it from the others.

    open_clip's `logs/RUN/checkpoints/epoch_latest.pt` is `RUN_epoch_latest`; files as the Hub has them take their
    model's or folder's name. EvaluationError where one file is given twice.
    """
    parts = {str(path): _parts(Path(path)) for path in paths}
    depth = {path: _needed(Path(path)) for path in parts}
    while clashing := _clash({path: _name(parts[path], depth[path]) for path in parts}):
        longer = [path for path in clashing if depth[path] < len(parts[path])]
        if not longer:
            raise EvaluationError(f"{' and '.join(clashing)} have one name", remedy="Rename the folder of one of them.")
        for path in longer:
            depth[path] += 1
    return {path: _name(parts[path], depth[path]) for path in parts}


def refuse_twice(paths: Iterable[Path]) -> None:
    """EvaluationError where two of these paths are one file."""
    seen: dict[Path, Path] = {}
    for path in paths:
        real = path.resolve()
        if real in seen:
            raise EvaluationError(f"{seen[real]} and {path} are one file", remedy="Give each checkpoint once.")
        seen[real] = path


def refuse_clashes(weights: Mapping[str, Path], output: Path) -> None:
    """EvaluationError where a folder of results has a cell of the same name and of other weights.

    weights: cell -> file.
    """
    for cell, path in weights.items():
        there = output / f"{cell}.json"
        if there.is_file() and (known := read_object(there).get("checkpoint_sha256")) and known != sha256_file(path):
            raise EvaluationError(
                f"{there} has the results of other weights than {path}",
                remedy="Name another --output, or rename the folder of the checkpoint.",
            )


def _parts(path: Path) -> list[str]:
    """What a name may be made of, from the file upward."""
    folders = [part for part in path.absolute().parts[1:-1] if part.lower() not in FOLDERS]
    hub = [part for part in folders if part.startswith("models--")]
    if hub:  # the Hub's cache: models--OWNER--MODEL/snapshots/REVISION
        folders = [*folders[: folders.index(hub[-1])], hub[-1].removeprefix("models--").replace("--", "_")]
    return [path.stem, *folders[::-1]]


def _needed(path: Path) -> int:
    """How many parts a name has at least."""
    in_run = path.absolute().parent.name.lower() in FOLDERS
    return 2 if in_run or path.stem.lower() in ANYONE_S else 1


def _name(parts: list[str], depth: int) -> str:
    return "_".join(reversed(parts[:depth]))


def _clash(names: Mapping[str, str]) -> list[str]:
    """Paths that share the first name that is there twice."""
    by_name: dict[str, list[str]] = {}
    for path, name in names.items():
        by_name.setdefault(name, []).append(path)
    return next((paths for paths in by_name.values() if len(paths) > 1), [])
