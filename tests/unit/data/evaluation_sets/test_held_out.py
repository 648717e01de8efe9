from pathlib import Path

import numpy as np
import pytest
from clip_benchmark.datasets.builder import build_dataset

from clip_scaling.data.evaluation_sets.held_out import write_evaluation_set
from clip_scaling.errors import DataError, ManifestError
from clip_scaling.records.files import read_json

from ..conftest import scene, verify


def test_clip_benchmark_reads_a_classification_set(small_source: Path, tmp_path: Path) -> None:
    write_evaluation_set(tmp_path / "eval", "small-icons", small_source, "icons")
    dataset = build_dataset("wds/small-icons", root=str(tmp_path / "eval"), transform=np.asarray)
    assert dataset.classes == ["moon", "star"]
    assert dataset.templates == ["{c}", "an icon of {c}"]
    images, labels = zip(*dataset, strict=True)
    assert labels == (0, 1, 0, 1, 0, 1)
    assert np.array_equal(images[3], scene(103))


def test_clip_benchmark_reads_a_retrieval_set(small_source: Path, tmp_path: Path) -> None:
    write_evaluation_set(tmp_path / "eval", "small-captions", small_source, "captions")
    dataset = build_dataset(
        "wds/small-captions", root=str(tmp_path / "eval"), transform=np.asarray, task="zeroshot_retrieval"
    )
    images, captions = zip(*dataset, strict=True)
    assert captions == tuple([f"unseen {i}"] for i in range(10))
    assert np.array_equal(images[9], scene(209))


def test_the_manifest_says_the_task_and_lists_every_file(small_source: Path, tmp_path: Path) -> None:
    write_evaluation_set(tmp_path / "eval", "small-icons", small_source, "icons")
    manifest = read_json(tmp_path / "eval/manifest.json")
    assert (manifest["dataset"], manifest["task"], manifest["n"]) == ("small-icons", "zeroshot_classification", 6)
    verify(tmp_path / "eval/manifest.json")
    on_disk = {path.relative_to(tmp_path / "eval").as_posix() for path in (tmp_path / "eval").rglob("*.*")}
    assert on_disk == {entry["path"] for entry in manifest["files"]} | {"manifest.json", ".manifest.json.sha256"}


def test_an_unknown_set_is_refused_with_the_known_ones(small_source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds out no 'emoji', only captions, icons"):
        write_evaluation_set(tmp_path / "eval", "small-emoji", small_source, "emoji")


def test_damaged_evaluation_images_are_named(small_source: Path, tmp_path: Path) -> None:
    path = small_source.parent / "held_out/icons.tar"
    path.write_bytes(path.read_bytes().replace(b"moon", b"noon", 1))
    with pytest.raises(ManifestError, match="held_out/icons.tar: sha256 differs"):
        write_evaluation_set(tmp_path / "eval", "small-icons", small_source, "icons")
