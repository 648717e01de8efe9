"""A set in clip-benchmark's layout is indexed where it lies, or refused with what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.errors import DataError
from clip_scaling.records.data import EvaluationSetManifest
from clip_scaling.records.files import verify_files, write_text

from ...evaluate.examples import random_images, write_set

GOOD = {"classnames.txt": "one\ntwo", "zeroshot_classification_templates.txt": "a {c}"}


def write_small_set(root: Path, files: dict[str, str]) -> Path:
    return write_set(root / "wds_x", random_images(2, (16, 16)), {"cls": ["0", "1"]}, GOOD | files)


def test_every_file_of_both_splits_is_listed_and_none_is_copied(tmp_path: Path) -> None:
    folder = write_small_set(tmp_path, {})
    for name, text in {"nshards.txt": "2", "0.tar": "", "1.tar": ""}.items():
        write_text(folder / "train" / name, text)
    index_evaluation_set(tmp_path / "eval-x", "x", folder)
    assert {path.name for path in (tmp_path / "eval-x").iterdir()} == {"manifest.json", ".manifest.json.sha256"}
    path = tmp_path / "eval-x/manifest.json"
    manifest = EvaluationSetManifest.read(path)
    assert [entry.path for entry in manifest.files] == [
        "classnames.txt", "test/0.tar", "test/nshards.txt", "train/0.tar", "train/1.tar", "train/nshards.txt",
        "zeroshot_classification_templates.txt",
    ]  # fmt: skip
    assert (manifest.classes, manifest.templates, manifest.n) == (["one", "two"], ["a {c}"], None)
    verify_files(manifest.files, manifest.home(path), "")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"classnames.txt": "one\none"}, "one is there twice"),
        ({"dataset_type.txt": "captioning"}, "'captioning' is none of"),
        ({"test/nshards.txt": "2"}, r"test/1\.tar is missing"),
    ],
)
def test_a_folder_with_a_fault_is_refused(tmp_path: Path, files: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        index_evaluation_set(tmp_path / "eval-x", "x", write_small_set(tmp_path, files))


@pytest.mark.parametrize("name", ["test/nshards.txt", "classnames.txt"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    folder = write_small_set(tmp_path, {})
    (folder / name).unlink()
    with pytest.raises(DataError, match=name):
        index_evaluation_set(tmp_path / "eval-x", "x", folder)
    assert not (tmp_path / "eval-x").exists()
