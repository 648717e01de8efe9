"""Tables as people have them (Hugging Face's parquet, published TSVs) become sources; every row is kept or counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from clip_scaling.data.shards.read import PairReader
from clip_scaling.data.sources.files.config import TableSource
from clip_scaling.data.sources.files.source import write_file_source
from clip_scaling.errors import DataError
from clip_scaling.records.files import read_json

from ...pictures import encoded


def photo(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (10, 12, 3), np.uint8)
    return encoded(Image.fromarray(pixels), "PNG")


def recipe(path: Path, **fields: Any) -> TableSource:
    plain = {"pairs": 10, "vocabulary_size": 600, "max_lost_fraction": 0.5, "image_size": 16, "shard_size": 10}
    return TableSource.model_validate({"kind": "table", "path": str(path), **plain, **fields})


def write(root: Path, table: TableSource, workers: int = 1) -> dict[str, Any]:
    write_file_source(root, "mine", table, workers)
    assert {path.suffix for path in root.glob(".*")} <= {".sha256"}
    return read_json(root / "manifest.json")


def pairs(root: Path) -> list[tuple[bytes, str]]:
    with PairReader.open(root / "manifest.json") as reader:
        found = [reader.read(number) for number in range(reader.pairs)]
    return sorted((image, caption.decode()) for image, caption in found)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for number in range(12):
        (tmp_path / f"images/{number}.png").write_bytes(photo(number))
    return tmp_path / "images"


def test_each_caption_of_a_list_is_a_pair(images: Path, tmp_path: Path) -> None:
    captions = [[f"thing {number}", f"thing {number} again", f"thing {number}"] for number in range(12)]
    captions[5] = []
    table = pa.table({"image": [f"{number}.png" for number in range(12)], "caption": captions})
    pq.write_table(table, images / "pairs.parquet")
    manifest = write(tmp_path / "out", recipe(images / "pairs.parquet"))
    assert manifest["counts"]["parsed"] == 34 and manifest["counts"]["kept"] == 22
    assert manifest["counts"]["dropped"] == {"no_caption": 1, "repeated_row": 11}
    expected = [(photo(n), text) for n in range(12) if n != 5 for text in sorted(set(captions[n]))]
    assert pairs(tmp_path / "out") == sorted(expected)
    first = write(tmp_path / "first", recipe(images / "pairs.parquet", list_of_captions="first"))
    assert first["counts"]["kept"] == 11 and first["recipe"]["list_of_captions"] == "first"


def test_the_captions_of_an_image_that_another_row_repeats_leave_together(images: Path, tmp_path: Path) -> None:
    (images / "again.png").write_bytes(photo(0))
    table = pa.table({"image": ["0.png", "again.png"], "caption": [["one", "two"], ["three", "four"]]})
    pq.write_table(table, images / "pairs.parquet")
    counts = write(tmp_path / "out", recipe(images / "pairs.parquet"))["counts"]
    assert (counts["kept"], counts["dropped"]) == (2, {"repeated_image": 2})
    assert {text for _, text in pairs(tmp_path / "out")} in ({"one", "two"}, {"three", "four"})


@pytest.mark.parametrize("workers", [1, 2])
def test_images_inside_a_parquet_are_read_as_files_would_be(tmp_path: Path, workers: int) -> None:
    held = [{"bytes": photo(number), "path": f"{number}.png"} for number in range(10)]
    held += [{"bytes": photo(10), "path": None}, {"bytes": b"no image", "path": "x.png"}, None]
    captions = [[f"thing {number}", f"object {number}"] for number in range(13)]
    pq.write_table(pa.table({"image": held, "caption": captions}), tmp_path / "train.parquet", row_group_size=3)
    manifest = write(tmp_path / "out", recipe(tmp_path / "train.parquet"), workers)
    assert manifest["counts"]["dropped"] == {"no_path": 2, "unreadable_image": 2}
    expected = [(photo(n), f"{word} {n}") for n in range(11) for word in ("thing", "object")]
    assert pairs(tmp_path / "out") == sorted(expected)
    lines = (tmp_path / "out/left_out.tsv").read_text().splitlines()
    assert lines.count("unreadable_image\t'x.png'") == 2


def test_images_as_plain_bytes_and_images_that_are_only_named_are_read_too(images: Path, tmp_path: Path) -> None:
    table = pa.table({"image": pa.array([photo(n) for n in range(3)], pa.large_binary()), "caption": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "bytes.parquet")
    assert write(tmp_path / "bytes", recipe(tmp_path / "bytes.parquet"))["counts"]["kept"] == 3
    named = pa.array([{"bytes": None, "path": "0.png"}, {"bytes": photo(1), "path": "gone.png"}])
    pq.write_table(pa.table({"image": named, "caption": ["a", "b"]}), images / "named.parquet")
    write(tmp_path / "named", recipe(images / "named.parquet"))
    assert pairs(tmp_path / "named") == sorted([(photo(0), "a"), (photo(1), "b")])


def test_different_images_with_one_name_and_one_caption_are_different_pairs(tmp_path: Path) -> None:
    held = [{"bytes": photo(number), "path": "image.png"} for number in range(3)]
    pq.write_table(pa.table({"image": held, "caption": ["a cat"] * 3}), tmp_path / "train.parquet")
    assert write(tmp_path / "out", recipe(tmp_path / "train.parquet"))["counts"]["kept"] == 3


def test_a_caption_that_is_no_utf8_is_one_lost_row_with_the_image_s_name(images: Path, tmp_path: Path) -> None:
    captions = pa.array([b"caf\xe9", b"tea", b"milk"], pa.binary())
    pq.write_table(pa.table({"image": ["0.png", "1.png", "2.png"], "caption": captions}), images / "pairs.parquet")
    counts = write(tmp_path / "out", recipe(images / "pairs.parquet"))["counts"]
    assert (counts["kept"], counts["dropped"]) == (2, {"caption_not_utf8": 1})
    assert (tmp_path / "out/left_out.tsv").read_text() == "caption_not_utf8\t'0.png'\n"
    with pytest.raises(DataError, match="1 of 3 images cannot be used .*'caption_not_utf8': 1"):
        write(tmp_path / "strict", recipe(images / "pairs.parquet", max_lost_fraction=0.1))


def test_sixty_lines_with_quotation_marks_are_sixty_pairs(images: Path, tmp_path: Path) -> None:
    texts = [f'"thing {n}' if n % 7 == 0 else f'thing {n}, 5" tall' for n in range(60)]
    lines = [f"{n % 12}.png\t{text}" for n, text in enumerate(texts)]
    (images / "pairs.tsv").write_text("\n".join(["image\tcaption", *lines]) + "\n")
    manifest = write(tmp_path / "out", recipe(images / "pairs.tsv", is_repeat_dropped=False))
    assert manifest["counts"] == {"parsed": 60, "kept": 60, "held_out": {}, "dropped": {}}
    assert {text for _, text in pairs(tmp_path / "out")} == set(texts)
    assert not {"quoting", "separator", "list_of_captions"} & manifest["recipe"].keys()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_absolute_paths_elsewhere_name_the_option_that_reads_them(images: Path, tmp_path: Path, separator: str) -> None:
    (tmp_path / "lists").mkdir()
    lines = [f"{images}/{n}.png{separator}thing {n}" for n in range(12)]
    path = tmp_path / "lists/train.csv"
    path.write_text("\n".join([f"filepath{separator}title", *lines]) + "\n")
    columns = {"image": "filepath", "caption": "title"}
    with pytest.raises(DataError) as error:
        write(tmp_path / "out", recipe(path, columns=columns))
    assert f"12 paths are absolute and outside of {tmp_path}/lists: set `sources.mine.root` to" in str(error.value)
    assert f"share, {images}, or" in str(error.value) and "max_lost_fraction" not in str(error.value)
    for root in (str(images), "/"):
        assert write(tmp_path / "out", recipe(path, columns=columns, root=root))["counts"]["kept"] == 12


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (r"C:\data\{}.png", r"12 paths are of a Windows drive \(C:\\data\\0.png\).*`sources.mine.root`"),
        ("D:/data/{}.png", r"12 paths are of a Windows drive \(D:/data/0.png\)"),
        ("../elsewhere/{}.png", r"12 paths are outside of .*images \(../elsewhere/0.png\).*`sources.mine.root`"),
        ("https://example.org/{}.png", r"12 paths are addresses .*`kind: url_list` downloads them"),
        ("pictures/{}.png", r"images/pictures/0.png is not there: paths in the table start from `sources.mine.root`"),
        ("{}.bmp", r"Unreadable are 12 .bmp: `sources.mine.image_suffixes`"),
    ],
)
def test_paths_of_every_other_kind_are_shown_with_what_to_write(
    images: Path, tmp_path: Path, written: str, said: str
) -> None:
    for number in range(12):
        (images / f"{number}.bmp").write_bytes(encoded(Image.new("RGB", (9, 9 + number)), "BMP"))
    lines = [f"{written.format(n)},thing {n}" for n in range(12)]
    (images / "pairs.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    with pytest.raises(DataError, match=said) as error:
        write(tmp_path / "out", recipe(images / "pairs.csv"))
    assert "max_lost_fraction" not in str(error.value)


def test_relative_windows_paths_are_read(images: Path, tmp_path: Path) -> None:
    lines = [rf"images\{n}.png,thing {n}" for n in range(12)]
    (tmp_path / "pairs.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    assert write(tmp_path / "out", recipe(tmp_path / "pairs.csv"))["counts"]["kept"] == 12


def test_a_fraction_is_offered_only_where_something_is_left(images: Path, tmp_path: Path) -> None:
    lines = [f"{n}.png,thing {n}" for n in range(12)] + ["gone.png,gone"]
    (images / "pairs.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    with pytest.raises(DataError, match=r"gone.png is not there.*or raise sources.mine.max_lost_fraction"):
        write(tmp_path / "out", recipe(images / "pairs.csv", max_lost_fraction=0.01))


def test_a_table_may_lie_in_several_files_as_on_the_hugging_face_hub(images: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    held = [{"bytes": photo(number), "path": f"{number}.png"} for number in range(12)]
    captions = [[f"thing {number}", f"object {number}"] for number in range(12)]
    for part in range(3):
        inside = slice(4 * part, 4 * part + 4)
        name = f"data/train-{part:05d}-of-00003.parquet"
        pq.write_table(pa.table({"image": held[inside], "caption": captions[inside]}), tmp_path / name)
    pq.write_table(pa.table({"image": held, "caption": captions}), tmp_path / "whole.parquet")
    parts = recipe(tmp_path / "data/train-*.parquet")
    assert not parts.refusals("mine") and len(parts.inputs("mine")) == 3
    manifests = [
        write(tmp_path / name, each) for name, each in (("parts", parts), ("whole", recipe(tmp_path / "whole.parquet")))
    ]
    assert manifests[0]["order_digest"] == manifests[1]["order_digest"] and manifests[0]["counts"]["kept"] == 24
    assert pairs(tmp_path / "parts") == pairs(tmp_path / "whole")
    for number in range(2):
        lines = [f"{n}.png,thing {n}" for n in range(6 * number, 6 * number + 6)]
        (images / f"{number}.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    assert write(tmp_path / "lines", recipe(images / "{0..1}.csv"))["counts"]["kept"] == 12
    assert "runs backwards" in recipe(images / "{1..0}.csv").refusals("mine")[0]
    assert "no such file" in recipe(images / "train-*.csv").refusals("mine")[0]
