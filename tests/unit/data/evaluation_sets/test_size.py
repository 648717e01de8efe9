"""Sizes of evaluation sets whose images nobody counted."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from clip_scaling.data.evaluation_sets.size import SetSize, set_size, split_size
from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.records.data import EvaluationSetManifest


def write_split(folder: Path, split: str, samples: list[int]) -> None:
    """Tars of so many samples each, a PNG's bytes and a label a sample."""
    (folder / split).mkdir(parents=True)
    for number, count in enumerate(samples):
        with tarfile.open(folder / split / f"{number}.tar", "w") as tar:
            for row in range(count):
                for name, content in ((f"s{row:05d}.png", bytes(700 + row % 200)), (f"s{row:05d}.cls", b"0")):
                    info = tarfile.TarInfo(name)
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    (folder / split / "nshards.txt").write_text(str(len(samples)))


@pytest.mark.parametrize(
    ("samples", "about"), [([7], 7), ([0], 0), ([30, 30], 60), ([2000], 2000), ([900, 900, 150], 1950)]
)
def test_a_split_is_as_large_as_its_tars_and_their_first_samples_say(
    tmp_path: Path, samples: list[int], about: int
) -> None:
    write_split(tmp_path, "test", samples)
    assert split_size(tmp_path, "test") == pytest.approx(about, rel=0.04)
    assert split_size(tmp_path, "train") is None


def test_a_split_that_cannot_be_read_has_no_size(tmp_path: Path) -> None:
    write_split(tmp_path, "test", [3])
    (tmp_path / "test" / "0.tar").write_bytes(b"no tar" * 1000)
    assert split_size(tmp_path, "test") is None
    (tmp_path / "test" / "0.tar").unlink()
    assert split_size(tmp_path, "test") is None


def test_a_set_in_place_has_the_size_that_its_folder_says(tmp_path: Path) -> None:
    write_split(tmp_path / "wds", "test", [40])
    write_split(tmp_path / "wds", "train", [80])
    (tmp_path / "wds" / "classnames.txt").write_text("a\nb\nc")
    (tmp_path / "wds" / "zeroshot_classification_templates.txt").write_text("{c}\na {c}")
    index_evaluation_set(tmp_path / "eval-x", "x", tmp_path / "wds")
    path = tmp_path / "eval-x" / "manifest.json"
    assert set_size(EvaluationSetManifest.read(path), path) == SetSize(40, 6, 80, 3)
