"""Commands on prepared data: files are compared with their manifests, and subsets with each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clip_scaling.cli.data import overlap, verify
from clip_scaling.data.evaluation_sets.held_out import write_evaluation_set
from clip_scaling.data.subsets.prefix import write_subset
from clip_scaling.errors import ManifestError

from ..data.conftest import small_source  # noqa: F401


@pytest.fixture
def project(small_source: Path, tmp_path: Path) -> Path:  # noqa: F811
    """A project folder with two subsets of a source of 25 pairs, in shards of ten, and one of its evaluation sets."""
    home = tmp_path / "project/results/data"
    for pairs in (5, 20):
        write_subset(home / f"Few-{pairs}", f"Few-{pairs}", small_source, pairs)
    write_evaluation_set(home / "eval-icons", "icons", small_source, "icons")
    return tmp_path / "project"


def test_whole_data_sets_agree_with_their_manifests(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify(project, ["Few-20", "eval-icons"])
    # Two shards and the index; a tar, its number, names of classes, templates and the kind.
    assert capsys.readouterr().out == "Few-20: 3 files agree\neval-icons: 5 files agree\n"


def test_a_changed_byte_is_found_and_named(project: Path) -> None:
    shard = project / "results/data/Few-5/shards/00000.tar"
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.chmod(0o644)
    shard.write_bytes(content)
    with pytest.raises(ManifestError, match=r"shards/00000.tar: sha256 differs from the manifest. Delete .*Few-5"):
        verify(project, ["Few-5"])


def test_the_pairs_that_two_subsets_share_are_counted(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    overlap(project, ["Few-5", "Few-20"], as_json=False)
    assert capsys.readouterr().out == (
        "5 pairs are in both: 100.0000% of Few-5 (5) and 25.0000% of Few-20 (20); one source\n"
    )
    overlap(project, ["Few-5", "Few-20"], as_json=True)
    assert json.loads(capsys.readouterr().out) == {
        "shared": 5,
        "of": [{"data": "Few-5", "pairs": 5, "share": 1.0}, {"data": "Few-20", "pairs": 20, "share": 0.25}],
        "has_one_source": True,
    }
