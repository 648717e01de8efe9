"""Free space and inodes of the file systems under results/, held against what the plan still puts there."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..records.plan import Stage
from ..study.paths import DataPaths, StudyPaths
from ..study.resolved import ResolvedStudy

DATA_STAGES = ("source", "subset", "packed")
"""Stages below results/data; the others are below results/{study}."""


@dataclass(frozen=True)
class Room:
    """Bytes and files, that are needed, there or free."""

    bytes: float
    files: float

    def __add__(self, other: Room) -> Room:
        return Room(self.bytes + other.bytes, self.files + other.files)

    def less(self, other: Room) -> Room:
        """What is left of it without the other, at least nothing."""
        return Room(max(0.0, self.bytes - other.bytes), max(0.0, self.files - other.files))

    def holds(self, other: Room) -> bool:
        """Whether the other fits in."""
        return other.bytes <= self.bytes and other.files <= self.files


MORE_ROOM = "Free some, or link results/ to a larger file system."
NOTHING = Room(0.0, 0.0)


def room_problems(study: ResolvedStudy, stages: Iterable[Stage], root: Path) -> list[str]:
    """A sentence for each file system that has less room than the stages need at their peak, less what is there."""
    data = DataPaths(root / "results")
    names = {*study.config.data, *(study.source_of(name) for name in study.config.data)}
    shared, own = data.root / "data", StudyPaths(study.config.study, root / "results").folder
    folders = {shared: [data.folder(name) for name in names], own: [own]}
    needed = {shared: NOTHING, own: NOTHING}
    for stage in stages:
        needed[shared if stage.stage in DATA_STAGES else own] += Room(stage.peak_gb * 1e9, stage.files)
    by_system: dict[int, list[Path]] = {}
    for home in folders:
        by_system.setdefault(os.stat(_existing(home)).st_dev, []).append(home)
    problems = []
    for places in by_system.values():
        free = free_room(os.statvfs(_existing(places[0])))
        need = sum((needed[place] for place in places), NOTHING)
        if not free.holds(need):  # what is there is looked for only where it matters: a walk may take long
            need = need.less(sum((used(folder) for home in places for folder in folders[home]), NOTHING))
        if text := shortage(need, free):
            problems.append(f"{' and '.join(str(place) for place in places)}: {text}")
    return problems


def free_room(found: os.statvfs_result) -> Room:
    """What this user may still write. A file system that counts no inodes (f_files 0) has room for any number."""
    files = float(found.f_favail) if found.f_files else float("inf")
    return Room(float(found.f_bavail) * found.f_frsize, files)


def shortage(need: Room, free: Room) -> str:
    """What is lacking, with the figures; empty where all fits in."""
    parts = []
    if need.bytes > free.bytes:
        parts.append(f"the plan needs up to {need.bytes / 1e9:,.3g} GB more, {free.bytes / 1e9:,.3g} GB are free")
    if need.files > free.files:
        parts.append(f"the plan needs about {need.files:,.0f} files more, {free.files:,.0f} inodes are free")
    return "; ".join(parts)


def used(folder: Path) -> Room:
    """Bytes and files below a folder; nothing where there is none."""
    return sum((Room(size, 1) for size in _sizes(folder)), NOTHING)


def _sizes(folder: Path) -> Iterator[int]:
    for home, _, names in os.walk(folder):
        for name in names:
            try:
                yield os.lstat(os.path.join(home, name)).st_size
            except FileNotFoundError:  # of a job that runs at this moment
                continue


def _existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    return next(folder for folder in (path, *path.absolute().parents) if folder.exists())
