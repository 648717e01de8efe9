import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_scaling.data.card import CELL_PIXELS, caption_numbers, quantiles, save_sheet, write_card
from clip_scaling.data.duplicates.count import count_duplicates
from clip_scaling.data.duplicates.fingerprints import FINGERPRINT_DTYPE, UNREADABLE
from clip_scaling.data.shards.write import INDEX_DTYPE, write_array, write_tar
from clip_scaling.data.subsets.prefix import write_subset
from clip_scaling.records.data import Quantiles
from clip_scaling.records.files import FileEntry, read_json, write_json

from .conftest import make_pair, write_plain_manifest


@pytest.fixture
def subset(small_source: Path, tmp_path: Path) -> Path:
    write_subset(tmp_path / "thirteen", "thirteen", small_source, 13)
    return tmp_path / "thirteen/manifest.json"


@pytest.fixture
def duplicates(tmp_path: Path) -> Path:
    count_duplicates(np.zeros(13, FINGERPRINT_DTYPE), {}).write(tmp_path / "duplicates.json")
    return tmp_path / "duplicates.json"


def test_a_card_counts_the_pairs_and_measures_their_images(
    subset: Path, small_source: Path, duplicates: Path, tmp_path: Path
) -> None:
    write_card(tmp_path, subset, small_source, duplicates)
    card = read_json(tmp_path / "card.json")
    assert (card["pairs"], card["measured_on_first_pairs"], card["unreadable"]) == (13, 13, 0)
    assert card["order_digest"] == read_json(subset)["order_digest"]
    assert card["pairs_of_the_source"] == read_json(small_source)["counts"]
    assert card["captions"]["distinct"] <= 13
    assert card["pairs_chosen"] == {"source": 25, "kept": 13, "left_in_source": 12}
    assert card["duplicates"] == read_json(duplicates)
    assert card["captions"]["share_by_language"] == "not measured: the source names no language"
    with Image.open(tmp_path / "contact_sheet.png") as sheet:
        assert sheet.size == (8 * (CELL_PIXELS + 4), 2 * (CELL_PIXELS + 4))  # 13 images: two rows of eight


def test_the_same_data_give_the_same_bytes(subset: Path, small_source: Path, duplicates: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_card(tmp_path / name, subset, small_source, duplicates)
    for file in ("card.json", "contact_sheet.png"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_languages_are_counted_where_the_lists_name_them(
    subset: Path, small_source: Path, duplicates: Path, tmp_path: Path
) -> None:
    samples = [
        (
            f"web/{i}",
            {"png": make_pair(f"web:{i}", "a", i).png, "txt": b"a", "json": json.dumps({"listed": listed}).encode()},
        )
        for i, listed in enumerate([{"language": "en"}] * 5 + [{"language": "de"}] * 2 + [{}])
    ]
    root = subset.parent
    spans = write_tar(root / "shards/web.tar", samples)
    write_array(root / "index.npy", np.array([(0, *span) for span in spans], INDEX_DTYPE))
    write_plain_manifest(root, [FileEntry.of(root / "shards/web.tar", root).with_pairs(8)])
    source = read_json(small_source)
    write_json(small_source, source | {"recipe": source["recipe"] | {"columns": {"language": "LANGUAGE"}}})
    write_card(tmp_path, subset, small_source, duplicates)
    captions = read_json(tmp_path / "card.json")["captions"]
    assert captions["share_by_language"] == {"en": 0.625, "de": 0.25, "unknown": 0.125}


def test_an_image_that_is_none_is_counted_and_the_others_are_measured(
    subset: Path, small_source: Path, duplicates: Path, tmp_path: Path
) -> None:
    shard = subset.parent / "shards/00001.tar"  # the cut one: its own file, pairs 10 to 12
    content = shard.read_bytes()
    start = content.index(b"\x89PNG")
    shard.chmod(0o644)
    shard.write_bytes(content[:start] + b"\x00" * 8 + content[start + 8 :])
    write_card(tmp_path, subset, small_source, duplicates)
    assert read_json(tmp_path / "card.json")["unreadable"] == 1


def test_a_card_has_one_number_of_unreadable_images(subset: Path, small_source: Path, tmp_path: Path) -> None:
    rows = np.zeros(13, FINGERPRINT_DTYPE)
    rows["state"][5] = UNREADABLE  # found by decoding all; no sample of headers shows it
    count_duplicates(rows, {}).write(tmp_path / "duplicates.json")
    write_card(tmp_path, subset, small_source, tmp_path / "duplicates.json")
    card = read_json(tmp_path / "card.json")
    assert card["unreadable"] == card["duplicates"]["unreadable_images"] == 1


def test_captions_are_counted_by_length_and_script() -> None:
    found = caption_numbers(["red fox", "red fox", "Лис", "狐 2"])
    # Letters: 6 + 6 Latin, 3 Cyrillic, 1 CJK.
    assert found.share_of_letters_by_script == {"LATIN": 0.75, "CYRILLIC": 0.1875, "CJK": 0.0625}
    assert found.distinct == 3
    assert found.words == Quantiles(least=1, p5=1, median=2, p95=2, greatest=2)


def test_quantiles_are_values_that_occur_and_nothing_has_none() -> None:
    assert quantiles([*range(1, 101)]) == Quantiles(least=1, p5=5, median=50, p95=95, greatest=100)
    assert quantiles([]) is None
    assert caption_numbers([]).share_of_letters_by_script == {}


def test_a_sheet_shows_each_image_whole_in_its_square_and_is_small_even_of_photographs(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 200, 300, 3), dtype=np.uint8)
    save_sheet(tmp_path / "sheet.png", [Image.fromarray(pixels) for pixels in noise])
    assert (tmp_path / "sheet.png").stat().st_size < 250_000  # noise is the worst there is
    save_sheet(tmp_path / "one.png", [Image.new("RGB", (100, 50), (200, 0, 0))])
    with Image.open(io.BytesIO((tmp_path / "one.png").read_bytes())) as sheet:
        red = np.asarray(sheet.convert("RGB"))[..., 1] < 100
    assert (red.any(axis=1).sum(), red.any(axis=0).sum()) == (28, 56)
