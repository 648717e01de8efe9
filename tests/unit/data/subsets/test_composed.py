from pathlib import Path

import numpy as np
import pytest
import webdataset

from clip_scaling.data.duplicates.fingerprints import FINGERPRINT_DTYPE
from clip_scaling.data.shards.read import PairReader
from clip_scaling.data.sources.iconify.raster import encode
from clip_scaling.data.sources.pairs import HeldOutSet, Pair, SourceContent, order_digest
from clip_scaling.data.sources.write import write_source
from clip_scaling.data.subsets.composed import Repeats, coloured_pairs, is_coloured, write_composed_subset
from clip_scaling.errors import DataError
from clip_scaling.records.files import read_json

from ..conftest import SMALL_RECIPE, make_pair, verify


def drawn(number: int, colour: tuple[int, int, int]) -> Pair:
    """A white square of 8 pixels a side whose first `number + 1` pixels have one colour: all differ."""
    pixels = np.full((8, 8, 3), 255, dtype=np.uint8)
    pixels.reshape(-1, 3)[: number + 1] = colour
    raster = encode(pixels)
    return Pair(f"set:{number}", "very " * (number + 1) + "pair", raster.png, raster.pixels)


@pytest.fixture
def two_kinds(tmp_path: Path) -> Path:
    """Manifest of a source of 25 pairs: those whose number is a multiple of 3 (nine of them) are red, others black."""
    training = [drawn(i, (255, 0, 0) if i % 3 == 0 else (0, 0, 0)) for i in range(25)]
    held_out = {
        "icons": HeldOutSet(
            "zeroshot_classification",
            [make_pair(f"held:{i}", ("moon", "star")[i % 2], 100 + i) for i in range(6)],
            6,
            ["moon", "star"],
            ["{c}"],
        ),
        "captions": HeldOutSet(
            "zeroshot_retrieval", [make_pair(f"set:x{i}", f"unseen {i}", 200 + i) for i in range(10)], 10
        ),
    }
    write_source(tmp_path / "two", "two", SMALL_RECIPE, SourceContent(training, held_out, 41, {}, "# Attribution\n"))
    return tmp_path / "two/manifest.json"


def chosen(manifest: Path) -> list[int]:
    """Numbers of the pairs in a subset's tars, which any reader of webdataset sees."""
    shards = [str(manifest.parent / entry["path"]) for entry in read_json(manifest)["shards"]]
    return [int(sample["__key__"].split("/")[1]) for sample in webdataset.WebDataset(shards, shardshuffle=False)]


def test_each_kind_gives_its_first_pairs_in_the_order_of_the_source(two_kinds: Path, tmp_path: Path) -> None:
    write_composed_subset(tmp_path / "half", "half", two_kinds, 12, 0.5)
    # Six red: 0 3 6 9 12 15. Six black: 1 2 4 5 7 8.
    assert chosen(tmp_path / "half/manifest.json") == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15]
    manifest = read_json(tmp_path / "half/manifest.json")
    assert [entry["pairs"] for entry in manifest["shards"]] == [10, 2]
    assert manifest["counts"] == {"source": 25, "kept": 12, "coloured": 6, "colourless": 6, "left_in_source": 13}
    assert manifest["order_digest"] == order_digest(f"set:{i}" for i in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15))
    verify(tmp_path / "half/manifest.json")


@pytest.mark.parametrize(
    ("share", "expected"), [(1.0, [0, 3, 6, 9, 12, 15, 18, 21]), (0.0, [1, 2, 4, 5, 7, 8, 10, 11])]
)
def test_a_subset_may_be_of_one_kind_alone(two_kinds: Path, tmp_path: Path, share: float, expected: list[int]) -> None:
    write_composed_subset(tmp_path / "one", "one", two_kinds, 8, share)
    assert chosen(tmp_path / "one/manifest.json") == expected


def test_the_index_finds_each_pair_in_the_new_tars(two_kinds: Path, tmp_path: Path) -> None:
    write_composed_subset(tmp_path / "half", "half", two_kinds, 12, 0.5)
    reader = PairReader.open(tmp_path / "half/manifest.json")
    captions = [reader.read(place)[1].decode() for place in range(12)]
    reader.close()
    assert captions == ["very " * (i + 1) + "pair" for i in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 15)]


def test_a_smaller_composed_subset_lies_within_a_larger_one(two_kinds: Path, tmp_path: Path) -> None:
    for pairs in (5, 10):
        write_composed_subset(tmp_path / str(pairs), str(pairs), two_kinds, pairs, 0.7)
    assert set(chosen(tmp_path / "5/manifest.json")) < set(chosen(tmp_path / "10/manifest.json"))
    assert coloured_pairs(10, 0.7) == 7  # 10 * 0.7 is a hair below 7 in floating point


def test_too_few_of_a_kind_are_refused_with_both_numbers(two_kinds: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data red: 10 coloured pairs are asked for, its source has 9"):
        write_composed_subset(tmp_path / "red", "red", two_kinds, 10, 1.0)
    assert not (tmp_path / "red/manifest.json").exists()


def test_a_composition_may_leave_out_repeats_too(two_kinds: Path, tmp_path: Path) -> None:
    rows = np.zeros(25, FINGERPRINT_DTYPE)
    rows["content"] = np.arange(25)
    rows["content"][[1, 3]] = 0  # the bytes of the first pair
    rows["phash"] = np.random.default_rng(0).integers(0, 2**64, 25, dtype=np.uint64)
    write_composed_subset(tmp_path / "half", "half", two_kinds, 6, 0.5, Repeats(0, None, rows, {}))
    # Of red 0 3 6 9 and black 1 2 4 5, without 1 and 3.
    assert chosen(tmp_path / "half/manifest.json") == [0, 2, 4, 5, 6, 9]
    assert read_json(tmp_path / "half/manifest.json")["counts"] == {
        "source": 25,
        "kept": 6,
        "coloured": 3,
        "colourless": 3,
        "dropped": {"equals_earlier_image": 2},
        "left_in_source": 17,
    }


def test_grey_shades_are_no_colours() -> None:
    grey = np.tile(np.arange(64, dtype=np.uint8).reshape(8, 8, 1), (1, 1, 3))
    assert not is_coloured(encode(grey).png)
    grey[0, 0] = (200, 100, 100)
    assert is_coloured(encode(grey).png)
