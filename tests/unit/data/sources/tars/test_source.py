"""Existing tars as a source: indexed where they lie, subsets as lists, damage counted before anything is trained."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from clip_scaling.data.shards.packed import pack
from clip_scaling.data.shards.read import PairReader, decode_image
from clip_scaling.data.shards.write import write_tar
from clip_scaling.data.sources.pairs import hash_order, order_digest
from clip_scaling.data.sources.tars.config import WebdatasetSource
from clip_scaling.data.sources.tars.lists import tars_of
from clip_scaling.data.sources.tars.source import write_tar_source
from clip_scaling.data.subsets.in_place import TarAccess
from clip_scaling.data.subsets.prefix import write_subset
from clip_scaling.data.subsets.write import Choice, write_choice
from clip_scaling.errors import ClipScalingError, DataError, ManifestError
from clip_scaling.records.data import SubsetCounts
from clip_scaling.records.files import read_json, sha256_file

from ...pictures import GREY, png

TARS, SAMPLES = 3, 8


def image(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number * 3 % 256, number, 90)).save(file, "PNG")
    return file.getvalue()


def write_wds(path: Path, numbers: range, caption: Callable[[int], str] = "caption {}".format) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for number in numbers:
            for extension, content in (("png", image(number)), ("txt", caption(number).encode())):
                header = tarfile.TarInfo(f"{number:04d}.{extension}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))


@pytest.fixture
def tars(tmp_path: Path) -> Path:
    """Tars 0.tar, 1.tar, 2.tar of eight pairs each."""
    for number in range(TARS):
        write_wds(tmp_path / f"tars/{number}.tar", range(number * SAMPLES, (number + 1) * SAMPLES))
    return tmp_path / "tars"


def recipe(folder: Path, **fields: Any) -> WebdatasetSource:
    settings = {"kind": "webdataset", "pairs": 24, "tars": [f"{folder}/*.tar"], "vocabulary_size": 600}
    return WebdatasetSource.model_validate(settings | fields)


def prepare(root: Path, folder: Path, workers: int = 1, **fields: Any) -> Path:
    made = recipe(folder, **fields)
    write_tar_source(root, "wds", made, tars_of("wds", made.tars), workers)
    return root / "manifest.json"


def content(root: Path) -> dict[str, bytes]:
    """All files but records, by path, links as files."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and "records" not in path.parts
    }


def expected_order() -> list[str]:
    identities = [f"{number // SAMPLES}.tar:{number:04d}" for number in range(TARS * SAMPLES)]
    return sorted(identities, key=hash_order)


def test_pairs_stand_in_hash_order_and_are_read_from_the_tars_themselves(tmp_path: Path, tars: Path) -> None:
    before = {path.name: path.read_bytes() for path in tars.iterdir()}
    manifest = prepare(tmp_path / "wds", tars)
    assert (tmp_path / "wds/identities.txt").read_text().splitlines() == expected_order()
    assert read_json(manifest)["order_digest"] == order_digest(expected_order())
    reader = PairReader.open(manifest)
    for place, identity in enumerate(expected_order()):
        number = int(identity[-4:])
        assert reader.read(place) == (image(number), f"caption {number}".encode())
    reader.close()
    assert {path.name: path.read_bytes() for path in tars.iterdir()} == before
    shards = read_json(manifest)["shards"]
    assert [entry["sha256"] for entry in shards] == [sha256_file(tars / f"{number}.tar") for number in range(TARS)]
    assert (tmp_path / "wds/shards/1.tar").resolve() == tars / "1.tar"
    assert read_json(manifest)["counts"] == {"parsed": 24, "kept": 24, "held_out": {}, "dropped": {}}


def test_one_worker_or_two_an_interruption_or_another_place_give_the_same_bytes(tmp_path: Path, tars: Path) -> None:
    held_out = {"captions": {"kind": "zeroshot_retrieval", "pairs": 10}}
    prepare(tmp_path / "a", tars, 1, held_out=held_out)
    shutil.copytree(tars, tmp_path / "elsewhere/tars")
    prepare(tmp_path / "b", tmp_path / "elsewhere/tars", 2, held_out=held_out)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    # As a killed run leaves it: a record missing, another half written, no manifest.
    first, second, _ = sorted((tmp_path / "a/records").glob("*.npz"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:100])
    (tmp_path / "a/manifest.json").unlink()
    (tmp_path / "a/records/.lines-killed").mkdir()
    (tmp_path / "a/records/.lines-killed/identities").touch()
    (tmp_path / "a/records/.0.npz.1.tmp").touch()
    prepare(tmp_path / "a", tars, 2, held_out=held_out)
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert not list((tmp_path / "a/records").glob(".*"))


def test_only_what_decodes_is_held_out(tmp_path: Path) -> None:
    broken = {number for number in range(40) if number % 4 == 1}
    for shard in range(2):
        numbers = range(20 * shard, 20 * shard + 20)
        samples = [
            (f"{n:03d}", {"png": image(n)[:40] if n in broken else image(n), "txt": b"caption %d" % n}) for n in numbers
        ]
        write_tar(tmp_path / f"tars/{shard}.tar", samples)
    held_out = {name: {"kind": "zeroshot_retrieval", "pairs": 10} for name in ("first", "second")}
    manifest = read_json(prepare(tmp_path / "a", tmp_path / "tars", held_out=held_out))
    shown = []
    for name in held_out:
        with tarfile.open(tmp_path / f"a/held_out/{name}.tar") as tar:
            members = {header.name: tar.extractfile(header).read() for header in tar}  # type: ignore[union-attr]
        pictures = [content for name, content in members.items() if name.endswith(".png")]
        assert len(pictures) == 10 and all(decode_image(picture) for picture in pictures)
        shown += pictures
    # As drawn by hash: the broken ones that came before the last chosen caption left, and no others.
    order = sorted(range(40), key=lambda n: hashlib.sha256(b"caption %d" % n).digest())
    readable = [n for n in order if n not in broken]
    passed = order[: order.index(readable[19])]
    assert sorted(shown) == sorted(image(n) for n in readable[:20])
    counts = manifest["counts"]
    assert counts["dropped"] == {"join:unreadable_image": len(set(passed) & broken)}
    assert counts["parsed"] == 40 == counts["kept"] + 20 + len(set(passed) & broken)
    again = read_json(prepare(tmp_path / "b", tmp_path / "tars", 2, held_out=held_out))
    assert again == manifest


def test_grey_of_sixteen_bits_is_counted_since_other_tools_clip_it_to_white(
    tmp_path: Path, tars: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "notes" not in read_json(prepare(tmp_path / "none", tars))
    deep = png((2, 2), 16, GREY, [b"\x10\0\x20\0"] * 2)
    write_tar(tars / "3.tar", [(f"d{n}", {"png": deep, "txt": b"an x-ray"}) for n in range(3)])
    write_tar(tars / "4.tar", [("d3", {"png": deep, "txt": b""})])  # a lost sample is no usable one
    manifest = read_json(prepare(tmp_path / "some", tars, max_lost_fraction=0.5))
    assert manifest["notes"] == {"grey_of_16_bits": 3}
    assert "grey_of_16_bits=3" in caplog.text


def test_only_a_changed_tar_is_read_again(tmp_path: Path, tars: Path) -> None:
    prepare(tmp_path / "a", tars)
    records = {path: path.stat().st_mtime_ns for path in (tmp_path / "a/records").glob("*.npz")}
    write_wds(tars / "1.tar", range(100, 105))
    assert read_json(prepare(tmp_path / "a", tars))["pairs"] == 2 * SAMPLES + 5
    assert sum(path.stat().st_mtime_ns != before for path, before in records.items()) == 1


def test_a_retrieval_set_keeps_its_captions_and_images_from_training(tmp_path: Path) -> None:
    # Captions 0 .. 11 twice each, and the images of the first dozen once more under captions of their own.
    write_wds(tmp_path / "tars/0.tar", range(24), lambda number: f"caption {number % 12}")
    write_wds(tmp_path / "tars/1.tar", range(12), lambda number: f"own {number}")
    manifest = read_json(
        prepare(tmp_path / "a", tmp_path / "tars", held_out={"captions": {"kind": "zeroshot_retrieval", "pairs": 10}})
    )
    captions = [f"caption {number}" for number in range(12)] + [f"own {number}" for number in range(12)]
    chosen = sorted(captions, key=hash_order)[:10]
    with tarfile.open(tmp_path / "a/held_out/captions.tar") as tar:
        members = {header.name: tar.extractfile(header).read() for header in tar}  # type: ignore[union-attr]
    texts = {text.decode() for name, text in members.items() if name.endswith(".txt")}
    images = {picture for name, picture in members.items() if name.endswith(".png")}
    assert len(images) == len(texts) == 10
    # A caption whose image another one of the set shows makes way for the next.
    assert texts <= set(sorted(captions, key=hash_order)[:14]) and len(texts & set(chosen)) >= 7
    counts = manifest["counts"]
    assert counts["parsed"] == 36 == counts["kept"] + sum(counts["held_out"].values()) + sum(counts["dropped"].values())
    reader = PairReader.open(tmp_path / "a/manifest.json")
    left = [reader.read(place) for place in range(manifest["pairs"])]
    reader.close()
    assert not {caption.decode() for _, caption in left} & texts
    assert not {picture for picture, _ in left} & images


def test_subsets_are_lists_into_the_tars_nested_and_numbered_tar_by_tar(tmp_path: Path, tars: Path) -> None:
    source = prepare(tmp_path / "wds", tars)
    found = {}
    for pairs in (5, 11):
        root = tmp_path / f"Wds-{pairs}"
        write_subset(root, root.name, source, pairs)
        manifest = read_json(root / "manifest.json")
        assert manifest["order_digest"] == order_digest(expected_order()[:pairs])
        assert all((root / entry["path"]).is_symlink() for entry in manifest["shards"])
        reader = PairReader.open(root / "manifest.json")
        assert [entry["pairs"] for entry in manifest["shards"]] == np.bincount(reader.index["shard"]).tolist()
        assert (np.diff(reader.index["shard"].astype(int)) >= 0).all()
        found[pairs] = {reader.read(number)[1].decode() for number in range(pairs)}
        reader.close()
        assert found[pairs] == {f"caption {int(identity[-4:])}" for identity in expected_order()[:pairs]}
    assert found[5] < found[11]


def test_chosen_pairs_are_a_list_too(tmp_path: Path, tars: Path) -> None:
    source = prepare(tmp_path / "wds", tars)
    places = np.array([1, 4, 20])
    counts = SubsetCounts(source=22, kept=3, left_in_source=19)
    write_choice(tmp_path / "Some", "Some", source, Choice(counts, places))
    assert read_json(tmp_path / "Some/manifest.json")["order_digest"] == order_digest(
        expected_order()[place] for place in places
    )
    assert np.load(tmp_path / "Some/places.npy").tolist() == [1, 4, 20]


def test_packing_reads_a_list_as_it_reads_shards(tmp_path: Path, tars: Path) -> None:
    source = prepare(tmp_path / "wds", tars)
    write_subset(tmp_path / "Wds-5", "Wds-5", source, 5)
    pack(tmp_path / "packed", tmp_path / "Wds-5/manifest.json", tmp_path / "wds/tokenizer/merges.txt.gz", 8, 8)
    pixels = np.load(tmp_path / "packed/pixels.npy")
    numbers = sorted(int(identity[-4:]) for identity in expected_order()[:5])
    assert pixels[:, 0, 0, 1].tolist() == numbers


@pytest.mark.parametrize("place", ["", "file:"])
def test_a_copied_subset_has_the_pairs_of_the_list_in_its_order_and_tars_of_its_own(
    tmp_path: Path, tars: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # of the cache of remote tars
    source = prepare(tmp_path / "wds", tars, tars=[f"{place}{tars}/{{0..2}}.tar"])
    for name, access in (("listed", TarAccess()), ("copied", TarAccess(shard_size=4))):
        write_subset(tmp_path / name, name, source, 11, access)
    listed, copied = (read_json(tmp_path / name / "manifest.json") for name in ("listed", "copied"))
    assert [entry["pairs"] for entry in copied["shards"]] == [4, 4, 3]
    assert (copied["order_digest"], copied["counts"]) == (listed["order_digest"], listed["counts"])
    shutil.rmtree(tars)
    reader = PairReader.open(tmp_path / "copied/manifest.json")
    found = [reader.read(number) for number in range(11)]
    reader.close()
    numbers = sorted(int(identity[-4:]) for identity in expected_order()[:11])
    assert found == [(image(number), f"caption {number}".encode()) for number in numbers]


def test_a_copied_subset_has_captions_out_of_json_as_text_and_keys_that_no_two_tars_share(tmp_path: Path) -> None:
    for number in range(2):
        with tarfile.open(tmp_path / f"{number}.tar", "w") as tar:
            metadata = json.dumps({"title": f"caption {number}"}).encode()
            for extension, content in (("png", image(number)), ("txt", b"not this"), ("json", metadata), ("cls", b"0")):
                header = tarfile.TarInfo(f"same.{extension}")
                header.size = len(content)
                tar.addfile(header, io.BytesIO(content))
    source = prepare(tmp_path / "wds", tmp_path, caption_key="title")
    write_subset(tmp_path / "copied", "copied", source, 2, TarAccess(shard_size=10))
    dataset = webdataset.WebDataset(str(tmp_path / "copied/shards/00000.tar"), shardshuffle=False)
    samples = [{key: value for key, value in sample.items() if not key.startswith("__url")} for sample in dataset]
    assert [sample.pop("__key__") for sample in samples] == ["000000000", "000000001"]
    assert [sample.pop("txt") for sample in samples] == [b"caption 0", b"caption 1"]
    assert [sample.pop("png") for sample in samples] == [image(0), image(1)]
    assert all(set(sample) <= {"json", "__local_path__"} for sample in samples)


@pytest.mark.parametrize("copied", [False, True])
def test_a_tar_that_changed_is_refused_before_its_pairs_are_copied(tmp_path: Path, tars: Path, copied: bool) -> None:
    source = prepare(tmp_path / "wds", tars)
    (tars / "1.tar").write_bytes((tars / "1.tar").read_bytes()[:-512])
    with pytest.raises(ManifestError, match="shards/1.tar: .* bytes"):
        write_subset(tmp_path / "all", "all", source, 24, TarAccess("size", 4 if copied else None))
    assert not (tmp_path / "all/manifest.json").exists()


@pytest.mark.parametrize("how", ["size", "sample", "full"])
def test_a_tar_that_changed_since_is_refused_before_a_subset_lists_it(tmp_path: Path, tars: Path, how: str) -> None:
    source = prepare(tmp_path / "wds", tars)
    for path in tars.iterdir():
        path.write_bytes(path.read_bytes()[:-1] + b"x")  # the same size
    if how == "size":
        write_subset(tmp_path / "Wds-5", "Wds-5", source, 5, TarAccess(how))
        (tars / "0.tar").write_bytes(b"")
    with pytest.raises(ManifestError, match="bytes, " if how == "size" else "sha256 differs"):
        write_subset(tmp_path / "Wds-5", "Wds-5", source, 24, TarAccess(how))


def test_too_much_damage_ends_preparation_and_names_the_tar(tmp_path: Path, tars: Path) -> None:
    (tars / "1.tar").write_bytes((tars / "1.tar").read_bytes()[: 3 * 2048 + 520])
    (tars / "1_stats.json").write_text(json.dumps({"successes": SAMPLES}))
    with pytest.raises(DataError, match=r"5 of 24 samples are lost.*1\.tar: cut \{'cut': 1, 'not_there': 4\}"):
        prepare(tmp_path / "a", tars, max_lost_fraction=0.2)
    assert not (tmp_path / "a/manifest.json").exists()
    manifest = read_json(prepare(tmp_path / "a", tars, max_lost_fraction=0.3))
    assert manifest["counts"]["dropped"] == {"tar:cut": 1, "tar:not_there": 4}
    assert [(entry["tar"], entry["kept"], entry["is_exact"]) for entry in manifest["quarantine"]] == [
        ("1.tar", 3, True)
    ]
    assert read_json(tmp_path / "a/quarantine.json") == manifest["quarantine"]


def test_a_tar_that_may_hide_samples_counts_as_full_against_the_threshold(tmp_path: Path, tars: Path) -> None:
    (tars / "1.tar").write_bytes(b"")
    with pytest.raises(DataError, match=r"8 of 24 samples are lost.*1\.tar: empty \{\} or more"):
        prepare(tmp_path / "a", tars, max_lost_fraction=0.3)
    manifest = read_json(prepare(tmp_path / "a", tars, max_lost_fraction=0.4))
    assert manifest["quarantine"][0]["is_exact"] is False
    assert [entry["path"] for entry in manifest["shards"]] == ["shards/0.tar", "shards/2.tar"]


def test_what_changes_no_data_is_no_part_of_what_is_tracked(tars: Path) -> None:
    plain = recipe(tars)
    other = recipe(
        tars,
        verify="full",
        shard_size=500,
        image_size=64,
        pairs=7,
        index_jobs=3,
        attribution="ours",
        max_lost_fraction=0.5,
    )
    assert plain.tracked() == other.tracked() != recipe(tars, caption_key="alt").tracked()


def test_tars_at_urls_are_indexed_without_a_copy(tmp_path: Path, tars: Path) -> None:
    made = recipe(tars, tars=[f"file:{tars}/{{0..2}}.tar"])
    write_tar_source(tmp_path / "wds", "wds", made, tars_of("wds", made.tars), 1)
    manifest = read_json(tmp_path / "wds/manifest.json")
    assert manifest["shards"][0]["path"] == f"file:{tars}/0.tar"
    assert manifest["order_digest"] == order_digest(expected_order())
    assert not (tmp_path / "wds/shards").exists()


def test_tars_of_one_name_in_two_folders_are_told_apart_and_a_missing_or_compressed_one_is_named(
    tmp_path: Path,
) -> None:
    for folder in "ab":
        write_wds(tmp_path / folder / "0.tar", range(1))
    assert [tar.name for tar in tars_of("wds", [f"{tmp_path}/a/0.tar", f"{tmp_path}/b/*.tar"])] == [
        "a/0.tar",
        "b/0.tar",
    ]
    with pytest.raises(ClipScalingError, match=r"https://x.org/0.tar.gz is compressed.*Unpack it"):
        tars_of("wds", ["https://x.org/0.tar.gz"])
    with pytest.raises(ClipScalingError, match="c/0.tar: no such file"):
        tars_of("wds", [f"{tmp_path}/{{a,c}}/0.tar"])
