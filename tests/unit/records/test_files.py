"""Atomic writes, deterministic bytes, and files held against a manifest."""

from pathlib import Path

import pytest

from clip_scaling.errors import ManifestError
from clip_scaling.records.files import FileEntry, atomic_path, canonical_json, read_json, verify_files, write_json


def test_one_value_has_one_text() -> None:
    assert canonical_json({"b": 1, "a": [2.5, "é"]}) == '{"a":[2.5,"é"],"b":1}'
    with pytest.raises(ValueError):
        canonical_json(float("nan"))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"old": True})
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert read_json(path) == {"old": True}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("text", [None, '{"cut": '])
def test_a_missing_or_broken_manifest_is_named_with_the_next_step(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "manifest.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ManifestError, match=rf"{path}.*snakemake --cores all {path}"):
        read_json(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "missing"), ("longer than it was", "18 bytes, 5 in the manifest"), ("HELLO", "sha256 differs")],
)
def test_a_file_that_differs_from_its_manifest_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "shard.tar"
    path.write_text("hello")
    entry = FileEntry.of(path, tmp_path)
    # echo -n hello | sha256sum
    assert entry.sha256 == "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    verify_files([entry], tmp_path, "Next step.")
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(ManifestError, match=rf"shard\.tar: .*{message}.* Next step\."):
        verify_files([entry], tmp_path, "Next step.")


def test_what_a_killed_writer_left_is_removed_by_the_next_one(tmp_path: Path) -> None:
    import os
    import subprocess

    ended = subprocess.Popen(["true"])
    ended.wait()
    left, young, running = (tmp_path / f".a.json.{number}.tmp" for number in (ended.pid, 4_000_000, os.getppid()))
    for path in (left, young, running):
        path.touch()
    for path in (left, running):
        os.utime(path, (1e9, 1e9))
    write_json(tmp_path / "a.json", 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([young.name, running.name, "a.json"])
