"""Free space and inodes are held against the plan, on file systems that are really small."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from clip_scaling.plan.room import Room, free_room, room_problems, shortage, used
from clip_scaling.records.plan import Stage
from clip_scaling.study.resolved import ResolvedStudy


def stage(name: str, gb: float, files: int, peak_gb: float | None = None) -> Stage:
    return Stage(stage=name, gb=gb, peak_gb=gb if peak_gb is None else peak_gb, files=files)


def test_room_is_what_this_user_may_write() -> None:
    # bsize, frsize, blocks, bfree, bavail, files, ffree, favail, flag, namemax: blocks are of frsize bytes.
    values = [65536, 4096, 1000, 300, 200, 50, 20, 10, 0, 255]
    assert free_room(os.statvfs_result(values)) == Room(200 * 4096, 10)
    values[5:8] = [0, 0, 0]  # btrfs counts no inodes
    assert free_room(os.statvfs_result(values)).files == float("inf")


@pytest.mark.parametrize(
    ("need", "text"),
    [
        (Room(3e9, 10), ""),
        (Room(4.5e9, 10), "the plan needs up to 4.5 GB more, 3 GB are free"),
        (Room(1e9, 1200), "the plan needs about 1,200 files more, 10 inodes are free"),
    ],
)
def test_what_is_lacking_is_said_with_figures(need: Room, text: str) -> None:
    assert shortage(need, Room(3e9, 10)) == text


def test_a_plan_that_fits_is_no_problem(study: ResolvedStudy, small_disk: Path) -> None:
    assert room_problems(study, [stage("source", 0.0004, 10), stage("train", 0.0004, 10)], small_disk) == []


def test_all_stages_of_one_file_system_count_together_and_at_their_peak(study: ResolvedStudy, small_disk: Path) -> None:
    data, own = small_disk / "results" / "data", small_disk / "results" / study.config.study
    (problem,) = room_problems(study, [stage("source", 0.0006, 10), stage("train", 0.0001, 10, 0.0006)], small_disk)
    assert problem == f"{data} and {own}: the plan needs up to 0.0012 GB more, 0.00105 GB are free"
    (problem,) = room_problems(study, [stage("packed", 0.0001, 20), stage("train", 0.0001, 30)], small_disk)
    assert "about 50 files more, 39 inodes are free" in problem


def test_what_is_there_is_not_needed_again(study: ResolvedStudy, small_disk: Path) -> None:
    source = small_disk / "results" / "data" / study.source_of(next(iter(study.config.data))) / "shards"
    source.mkdir(parents=True)
    (source / "0.tar").write_bytes(bytes(400_000))
    assert used(source) == Room(400_000, 1)
    # 0.9 MB in all, 0.4 of them there; 1048576 - 400,000 bytes are left, in blocks of 4096.
    assert room_problems(study, [stage("source", 0.0009, 10)], small_disk) == []
    (problem,) = room_problems(study, [stage("source", 0.0019, 10)], small_disk)
    assert "up to 0.0015 GB more, 0.000647 GB are free" in problem


def test_results_that_lie_on_two_file_systems_are_looked_at_each(
    study: ResolvedStudy, small_disk: Path, tmp_path: Path
) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "data").symlink_to(small_disk)
    (problem,) = room_problems(study, [stage("source", 0.002, 10), stage("train", 0.002, 10)], tmp_path)
    assert problem.startswith(f"{tmp_path / 'results' / 'data'}: the plan needs up to 0.002 GB more")
