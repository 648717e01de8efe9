"""Records of data: files of earlier versions are read, and written again byte for byte."""

from pathlib import Path

import pytest

from clip_scaling.errors import DataError, ManifestError
from clip_scaling.records.base import Record
from clip_scaling.records.data import (
    DataCard,
    DuplicateCounts,
    EvaluationSetManifest,
    PackedManifest,
    PartRecord,
    SourceManifest,
    SubsetManifest,
    read_any_manifest,
)
from clip_scaling.records.files import ShardEntry, read_json, write_json

GOLDEN = Path(__file__).parent / "golden"
"""Files that were written before these models, of each kind of source, subset and evaluation set."""
MODELS: dict[str, type[Record]] = {
    "source": SourceManifest,
    "subset": SubsetManifest,
    "packed": PackedManifest,
    "evaluation": EvaluationSetManifest,
    "part": PartRecord,
    "card": DataCard,
    "duplicates": DuplicateCounts,
}
FILES = sorted(GOLDEN.glob("*.json"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_is_written_again_byte_for_byte(path: Path, tmp_path: Path) -> None:
    record = MODELS[path.stem.partition("_")[0]].read(path)
    record.write(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_any_manifest_is_read_as_what_it_is() -> None:
    kinds = {
        path.stem: type(read_any_manifest(path)) for path in FILES if path.stem not in ("part", "card", "duplicates")
    }
    assert kinds == {name: MODELS[name.partition("_")[0]] for name in kinds}


def test_a_manifest_says_what_its_pairs_are() -> None:
    listed = SubsetManifest.read(GOLDEN / "subset_in_place.json")
    assert listed.pairs == sum(listed.shard_pairs) == 4
    assert isinstance(listed.shards[0], ShardEntry)
    assert not listed.is_in_hash_order
    assert SubsetManifest.read(GOLDEN / "subset_composed.json").is_in_hash_order


def test_a_set_lies_beside_its_manifest_or_where_it_says() -> None:
    here, elsewhere = GOLDEN / "evaluation_digits.json", GOLDEN / "evaluation_webdataset.json"
    assert EvaluationSetManifest.read(here).home(here) == GOLDEN
    assert EvaluationSetManifest.read(elsewhere).home(elsewhere) == Path("/data/wds_x")


def test_another_kind_and_another_format_are_refused(tmp_path: Path) -> None:
    path = GOLDEN / "packed.json"
    with pytest.raises(DataError, match=r"packed.json: not a manifest of kind 'subset', format 1. Delete it and run"):
        SubsetManifest.read(path)
    write_json(tmp_path / "manifest.json", read_json(path) | {"format": 1})
    with pytest.raises(DataError, match="not a manifest of kind 'packed', format 2"):
        read_any_manifest(tmp_path / "manifest.json")
    write_json(tmp_path / "manifest.json", {"kind": "part"})
    with pytest.raises(DataError, match="not a manifest of kind source, subset, packed, evaluation"):
        read_any_manifest(tmp_path / "manifest.json")


def test_a_part_is_a_step_of_its_source() -> None:
    source = SourceManifest.read(GOLDEN / "source_url_list.json")
    part = PartRecord.read(GOLDEN / "part.json")
    assert part.step.model_dump().keys() == source.steps[0].model_dump().keys()
    assert (part.step.rows, part.step.fetched) == (416, 359)


def test_a_misspelt_key_of_a_shard_is_named(tmp_path: Path) -> None:
    raw = read_json(GOLDEN / "subset_prefix.json")
    raw["shards"][0]["pears"] = 3
    write_json(tmp_path / "manifest.json", raw)
    with pytest.raises(ManifestError, match=r"shards.0.pears: "):
        SubsetManifest.read(tmp_path / "manifest.json")
