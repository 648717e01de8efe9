import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import webdataset
from PIL import Image

from clip_scaling.data.shards.write import INDEX_DTYPE, write_tar
from clip_scaling.data.sources.pairs import SourceContent
from clip_scaling.data.sources.write import write_source
from clip_scaling.records.files import read_json, sha256_file

from ..conftest import SMALL_RECIPE, full_disk, leftovers, make_pair, scene, verify


def test_any_webdataset_reader_finds_the_pairs_in_order(small_source: Path) -> None:
    shards = [str(small_source.parent / entry["path"]) for entry in read_json(small_source)["shards"]]
    samples = list(webdataset.WebDataset(shards, shardshuffle=False).decode("rgb8"))
    assert [sample["__key__"] for sample in samples] == [f"set/{i}" for i in range(25)]
    assert samples[2]["txt"] == "very very very pair"
    assert np.array_equal(samples[2]["png"], scene(2))


def test_the_index_leads_straight_to_a_pair(small_source: Path) -> None:
    index = np.load(small_source.parent / "index.npy")
    assert index.dtype == INDEX_DTYPE and len(index) == 25
    row = index[17]
    assert row["shard"] == 1
    shard = (small_source.parent / "shards/00001.tar").read_bytes()
    with tarfile.open(fileobj=io.BytesIO(shard[row["offset"] : row["offset"] + row["size"]])) as tar:
        image, caption = tar.getmembers()
        assert (image.name, caption.name) == ("set/17.png", "set/17.txt")
        assert np.array_equal(np.asarray(Image.open(tar.extractfile(image))), scene(17))


def test_the_manifest_lists_every_file_with_its_size_and_hash(small_source: Path) -> None:
    manifest, home = read_json(small_source), small_source.parent
    entries = [*manifest["shards"], *manifest["files"]]
    verify(small_source)
    on_disk = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert on_disk == {entry["path"] for entry in entries} | {"manifest.json", ".manifest.json.sha256"}
    assert [entry["pairs"] for entry in manifest["shards"]] == [10, 10, 5]
    assert manifest["counts"] == {"parsed": 41, "kept": 25, "held_out": {"captions": 10, "icons": 6}, "dropped": {}}


def test_the_order_digest_is_the_hash_of_the_identities_file(small_source: Path) -> None:
    assert read_json(small_source)["order_digest"] == sha256_file(small_source.parent / "identities.txt")


def test_a_manifest_says_nothing_of_the_machine(small_source: Path) -> None:
    assert str(small_source.parent) not in small_source.read_text()
    assert "path" not in json.loads(small_source.read_text())["recipe"]


def test_nothing_that_a_killed_run_left_is_trusted(tmp_path: Path, small_source: Path) -> None:
    expected = small_source.read_bytes()
    home = small_source.parent
    (home / "shards/00000.tar").write_bytes(b"half a shard")
    (home / "shards/00009.tar").write_bytes(b"a shard of another recipe")
    (home / "shards/.00001.tar.1.tmp").write_bytes(b"cut short")
    (home / ".manifest.json.1.tmp").write_bytes(b"cut short")
    training = [make_pair(f"set:{i}", "very " * (i + 1) + "pair", i) for i in range(25)]
    write_source(home, "small", SMALL_RECIPE, SourceContent(training, {}, 25, {}, "# Attribution\n"))
    assert sorted(path.name for path in (home / "shards").iterdir()) == ["00000.tar", "00001.tar", "00002.tar"]
    assert leftovers(home) == ["manifest.json"]
    assert json.loads(expected)["shards"] == read_json(small_source)["shards"]


def test_a_full_disk_leaves_no_manifest_and_no_temporary_file(tmp_path: Path) -> None:
    training = [make_pair(f"set:{i}", "pair", i) for i in range(25)]
    with full_disk(12_000), pytest.raises(OSError):
        write_source(tmp_path / "s", "small", SMALL_RECIPE, SourceContent(training, {}, 25, {}, ""))
    assert leftovers(tmp_path) == []


def test_names_too_long_for_a_plain_tar_header_survive(tmp_path: Path) -> None:
    key = "vendor/" + "long-" * 30
    write_tar(tmp_path / "a.tar", [(key, {"txt": b"caption"})])
    (sample,) = webdataset.WebDataset(str(tmp_path / "a.tar"), shardshuffle=False)
    assert sample["__key__"] == key
