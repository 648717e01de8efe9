import json
import os
from pathlib import Path

import numpy as np
import pytest
import webdataset

from clip_scaling.data.sources.pairs import order_digest
from clip_scaling.data.subsets.prefix import write_subset
from clip_scaling.errors import DataError, ManifestError
from clip_scaling.records.files import read_json

from ..conftest import full_disk, leftovers, verify


def keys(manifest: Path) -> list[str]:
    shards = [str(manifest.parent / entry["path"]) for entry in read_json(manifest)["shards"]]
    return [sample["__key__"] for sample in webdataset.WebDataset(shards, shardshuffle=False)]


def test_a_subset_is_the_first_pairs_of_its_source(small_source: Path, tmp_path: Path) -> None:
    write_subset(tmp_path / "thirteen", "thirteen", small_source, 13)
    manifest = read_json(tmp_path / "thirteen/manifest.json")
    assert keys(tmp_path / "thirteen/manifest.json") == [f"set/{i}" for i in range(13)]
    assert [entry["pairs"] for entry in manifest["shards"]] == [10, 3]
    assert manifest["order_digest"] == order_digest(f"set:{i}" for i in range(13))
    assert manifest["counts"] == {"source": 25, "kept": 13, "left_in_source": 12}
    verify(tmp_path / "thirteen/manifest.json")


def test_the_index_of_a_subset_is_the_prefix_of_the_source_s(small_source: Path, tmp_path: Path) -> None:
    write_subset(tmp_path / "thirteen", "thirteen", small_source, 13)
    whole = np.load(small_source.parent / "index.npy")
    assert np.array_equal(np.load(tmp_path / "thirteen/index.npy"), whole[:13])


def test_whole_shards_cost_no_space(small_source: Path, tmp_path: Path) -> None:
    write_subset(tmp_path / "part", "part", small_source, 20)
    for name in ("shards/00000.tar", "shards/00001.tar"):
        assert os.path.samefile(small_source.parent / name, tmp_path / "part" / name)


def test_whole_shards_are_copied_where_links_are_impossible(
    small_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    write_subset(tmp_path / "part", "part", small_source, 20)
    assert keys(tmp_path / "part/manifest.json") == [f"set/{i}" for i in range(20)]


def test_the_whole_source_is_a_subset_too(small_source: Path, tmp_path: Path) -> None:
    write_subset(tmp_path / "all", "all", small_source, 25)
    assert read_json(tmp_path / "all/manifest.json")["order_digest"] == read_json(small_source)["order_digest"]


def test_a_subset_larger_than_its_source_is_refused_with_both_numbers(small_source: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"26 pairs are asked for, source small has 25. Lower `data.big.pairs`"):
        write_subset(tmp_path / "big", "big", small_source, 26)


def test_a_damaged_shard_is_named_and_leaves_no_manifest(small_source: Path, tmp_path: Path) -> None:
    write_subset(tmp_path / "part", "part", small_source, 13)
    shard = small_source.parent / "shards/00001.tar"
    content = bytearray(shard.read_bytes())
    content[600] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ManifestError, match=r"shards/00001.tar: sha256 differs .* run `snakemake"):
        write_subset(tmp_path / "part", "part", small_source, 13)
    assert leftovers(tmp_path / "part") == []
    write_subset(tmp_path / "first", "first", small_source, 10)  # the damaged shard is not needed for this one


def test_a_missing_shard_is_named(small_source: Path, tmp_path: Path) -> None:
    (small_source.parent / "shards/00000.tar").unlink()
    with pytest.raises(ManifestError, match=r"shards/00000.tar: listed in the manifest but missing"):
        write_subset(tmp_path / "part", "part", small_source, 5)


def test_a_subset_of_a_subset_is_refused(small_source: Path, tmp_path: Path) -> None:
    write_subset(tmp_path / "part", "part", small_source, 13)
    with pytest.raises(DataError, match="not a manifest of kind 'source'"):
        write_subset(tmp_path / "less", "less", tmp_path / "part/manifest.json", 5)


def test_a_rerun_with_fewer_pairs_leaves_no_shard_of_the_larger_one(small_source: Path, tmp_path: Path) -> None:
    write_subset(tmp_path / "part", "part", small_source, 25)
    write_subset(tmp_path / "part", "part", small_source, 5)
    assert [path.name for path in (tmp_path / "part/shards").iterdir()] == ["00000.tar"]
    assert json.loads(small_source.read_text())["pairs"] == 25
    assert keys(small_source) == [f"set/{i}" for i in range(25)]


def test_a_full_disk_leaves_no_manifest_and_no_temporary_file(small_source: Path, tmp_path: Path) -> None:
    with full_disk(5_000), pytest.raises(OSError):
        write_subset(tmp_path / "part", "part", small_source, 5)
    assert leftovers(tmp_path / "part") == []
