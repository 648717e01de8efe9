"""Numbers of images of evaluation sets; where nobody counted them, an estimate from the sizes of their tars."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

from ...records.data import EvaluationSetManifest
from .layout import count_path, tar_paths

LOOKED_AT = 100
"""Samples whose mean size stands for all of a split."""


@dataclass(frozen=True)
class SetSize:
    """Of an evaluation set.

    images: of its test split. prompts: classes x templates, or captions. train: images of its train split. columns:
    of its scores, classes or captions.
    """

    images: int
    prompts: int
    train: int
    columns: int = 0


def set_size(manifest: EvaluationSetManifest, path: Path) -> SetSize | None:
    """The size of a prepared set; None where its tars are not there. path: of the manifest."""
    folder = manifest.home(path)
    images = split_size(folder, "test") if manifest.n is None else manifest.n
    train = split_size(folder, "train") if manifest.n is None else manifest.n_train or 0
    if images is None:
        return None
    prompts = len(manifest.classes) * len(manifest.templates) or images  # retrieval: a caption a pair
    return SetSize(images, prompts, train or 0, len(manifest.classes) or images)


def split_size(folder: Path, split: str) -> int | None:
    """Estimate the images of a split in clip-benchmark's layout; None where it, or one of its tars, is not there.

    Exact where the first tar has all of them and no more than LOOKED_AT.
    """
    if not (folder / count_path(split)).is_file():
        return None
    tars = [folder / path for path in tar_paths(folder, split)]
    try:
        sizes = [tar.stat().st_size for tar in tars]
        samples, end, is_all = _beginning(tars[0]) if tars else (0, 0, True)
    except (OSError, tarfile.TarError):
        return None
    if not samples:
        return 0
    if is_all:  # as far as the first tar goes: others are taken to be like it
        return round(samples * sum(sizes) / sizes[0])
    return round(samples * sum(sizes) / end)


def _beginning(path: Path) -> tuple[int, int, bool]:
    """Count the samples at the beginning of a tar: their number, where they end, and whether these are all."""
    names: set[str] = set()
    with tarfile.open(path, "r:") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            key = f"{folder}/{name.partition('.')[0]}"
            if key not in names and len(names) == LOOKED_AT:
                return len(names), member.offset, False
            names.add(key)
        return len(names), tar.offset, True
