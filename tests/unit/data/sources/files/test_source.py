"""Images on disk (folder, table): each is kept, held out or counted by reason; the same bytes however many workers."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from clip_scaling.data.sources.files.config import FileSource, FolderSource, TableSource
from clip_scaling.data.sources.files.image import stored
from clip_scaling.data.sources.files.places import folders_of
from clip_scaling.data.sources.files.source import write_file_source
from clip_scaling.data.sources.pairs import hash_order, order_digest
from clip_scaling.data.subsets.prefix import write_subset
from clip_scaling.errors import DataError
from clip_scaling.records.files import read_json


def picture(number: int, width: int = 12, height: int = 10) -> Image.Image:
    """Noise: no two numbers show the same picture."""
    pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def put(folder: Path, name: str, content: bytes, caption: str | bytes | None = None) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if caption is not None:
        path.with_suffix(".txt").write_bytes(caption.encode() if isinstance(caption, str) else caption)


def folder_recipe(path: Path, **fields: Any) -> FolderSource:
    plain = {"pairs": 10, "vocabulary_size": 600, "max_lost_fraction": 0.9, "image_size": 8, "shard_size": 10}
    return FolderSource.model_validate({"kind": "folder", "path": str(path), **plain, **fields})


def table_recipe(path: Path, **fields: Any) -> TableSource:
    return TableSource.model_validate(folder_recipe(path).model_dump(exclude_unset=True) | {"kind": "table"} | fields)


def write(root: Path, recipe: FileSource, workers: int = 1) -> dict[str, Any]:
    write_file_source(root, "mine", recipe, workers)
    return read_json(root / "manifest.json")


def samples(root: Path) -> dict[str, dict[str, bytes]]:
    """Members by extension of every sample in the shards, by the path that its JSON names."""
    found: dict[str, dict[str, bytes]] = {}
    for shard in sorted((root / "shards").iterdir()):
        with tarfile.open(shard) as tar:
            for member in tar:
                key, extension = member.name.split(".")
                content = tar.extractfile(member)
                assert content is not None
                found.setdefault(key, {})[extension] = content.read()
    return {json.loads(members["json"])["path"]: members for members in found.values()}


def faulty_folder(folder: Path) -> Path:
    """Eighteen images, of which five can be used, each other one with a fault of its own, and what is no image."""
    put(folder, "a.png", encoded(picture(1)), "a thing\n")
    put(folder, "deep/er/b.JPG", encoded(picture(2, 40, 20), "JPEG"), "another\n  thing ")
    put(folder, "c.d.webp", encoded(picture(3, 8, 8), "WEBP", lossless=True), "\ufeffdots in a name")
    put(folder, "moving.gif", encoded(picture(4), "GIF", save_all=True, append_images=[picture(5)]), "it moves")
    put(folder, "a.jpeg", encoded(picture(6), "JPEG"))  # shares a.txt
    put(folder, "no_caption.png", encoded(picture(7)))
    put(folder, "empty.png", encoded(picture(8)), " \n")
    put(folder, "latin.png", encoded(picture(9)), b"\xe9t\xe9")
    put(folder, "short.png", encoded(picture(10)), "x")
    put(folder, "long.png", encoded(picture(11)), "x" * 31)
    put(folder, "cut.jpg", encoded(picture(12, 64, 64), "JPEG")[:-400], "a picture that ends early")
    put(folder, "page.png", b"<html>not found</html>", "a page")
    put(folder, "tiny.png", encoded(picture(13, 12, 3)), "a line")
    put(folder, "heavy.png", encoded(picture(14, 200, 200)), "many bytes")
    put(folder, "wide.png", encoded(picture(15, 60, 10)), "a banner")
    put(folder, "z/again.png", encoded(picture(1)), "a thing once more")
    put(folder, "named.png", encoded(picture(16)), "left out by name")
    (folder / "dir.png").mkdir()  # a folder, not an image
    put(folder, "dir.png/inside.png", b"", "no bytes at all")
    (folder / "text_alone.txt").write_text("no image")
    (folder / "notes.pdf").write_bytes(b"%PDF")
    (folder / ".hidden.png").write_bytes(b"")
    put(folder, ".git/x.png", encoded(picture(17)), "hidden")
    return folder


FAULTS: dict[str, Any] = {
    "min_caption_characters": 2,
    "max_caption_characters": 30,
    "min_image_side": 5,
    "max_image_bytes": 10_000,
    "filters": {"narrow": "aspect_ratio <= 3", "name": "not (caption == 'left out by name')"},
}
DROPPED = {
    "missing_caption": 1,
    "no_caption": 1,
    "unreadable_caption": 1,
    "caption_too_short": 1,
    "caption_too_long": 1,
    "unreadable_image": 2,
    "image_side": 1,
    "image_bytes": 2,
    "filter_narrow": 1,
    "filter_name": 1,
    "repeated_image": 1,
}


def test_every_image_of_a_folder_is_kept_or_counted_by_its_first_reason(tmp_path: Path) -> None:
    folder = faulty_folder(tmp_path / "images")
    manifest = write(tmp_path / "out", folder_recipe(folder, **FAULTS))
    assert manifest["counts"] == {"parsed": 18, "kept": 5, "held_out": {}, "dropped": DROPPED}
    assert manifest["ignored"] == {"captions_without_image": 1, "hidden_files": 1, "other_files": 1}
    found = samples(tmp_path / "out")
    captions = {path: members["txt"].decode() for path, members in found.items()}
    of_a = {"a.png": "a thing", "z/again.png": "a thing once more"}
    kept = next(path for path in of_a if path in captions)  # of equal bytes the first in hash order
    assert kept == min(of_a, key=lambda path: hash_order("file:" + hashlib.sha256(path.encode()).hexdigest()[:32]))
    assert captions == {
        kept: of_a[kept],
        "a.jpeg": "a thing",
        "deep/er/b.JPG": "another thing",
        "c.d.webp": "dots in a name",
        "moving.gif": "it moves",
    }
    left_out = [line.split("\t") for line in (tmp_path / "out/left_out.tsv").read_text().splitlines()]
    assert len(left_out) == 18 - 5 and ["unreadable_image", "'cut.jpg'"] in left_out
    assert str(tmp_path) not in (tmp_path / "out/manifest.json").read_text()


def test_images_are_scaled_to_the_shorter_side_and_smaller_plain_ones_keep_their_bytes(tmp_path: Path) -> None:
    recipe = folder_recipe(tmp_path, image_size=20, encode_format="png", encode_quality=6)
    small = encoded(picture(1, 19, 12), "JPEG")
    assert stored(small, recipe) == ("jpg", small)
    extension, large = stored(encoded(picture(2, 80, 40)), recipe)
    assert (extension, Image.open(io.BytesIO(large)).size) == ("png", (40, 20))
    largest = stored(encoded(picture(2, 80, 40)), recipe.model_copy(update={"resize": "keep_ratio_largest"}))[1]
    assert Image.open(io.BytesIO(largest)).size == (20, 10)
    whole = encoded(picture(2, 80, 40))
    assert stored(whole, recipe.model_copy(update={"resize": "no"})) == ("png", whole)


def test_images_are_stored_upright_on_white_and_as_their_first_picture(tmp_path: Path) -> None:
    recipe = folder_recipe(tmp_path, image_size=100, encode_format="png", encode_quality=6)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: turn by 90 degrees
    turned = encoded(picture(1, 30, 10), "PNG", exif=exif)
    shown = Image.open(io.BytesIO(stored(turned, recipe)[1]))
    np.testing.assert_array_equal(np.asarray(shown), np.rot90(np.asarray(picture(1, 30, 10)), -1))
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert np.asarray(Image.open(io.BytesIO(stored(encoded(clear), recipe)[1]))).min() == 255
    pictures = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    moving = encoded(pictures[0], "GIF", save_all=True, append_images=pictures[1:])
    assert Image.open(io.BytesIO(stored(moving, recipe)[1])).getpixel((0, 0)) == (255, 0, 0)


def many(folder: Path, count: int = 40) -> Path:
    for number in range(count):
        put(folder, f"{number % 3}/{number}.png", encoded(picture(number)), f"number {number // 2}")
    return folder


def contents(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_one_worker_or_two_write_the_same_bytes_wherever_the_folder_lies(tmp_path: Path) -> None:
    held_out = {"captions": {"kind": "zeroshot_retrieval", "pairs": 10}}
    for place, workers in (("here", 1), ("there/below", 2)):
        recipe = folder_recipe(many(tmp_path / place), held_out=held_out)
        manifest = write(tmp_path / f"out{workers}", recipe, workers)
        # Two images a caption: ten captions are held out, with both their images.
        assert manifest["counts"] == {"parsed": 40, "kept": 20, "held_out": {"captions": 20}, "dropped": {}}
        assert manifest["held_out"]["captions"]["images"] == 10
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")


def test_an_added_image_takes_its_place_and_moves_no_other_and_subsets_are_nested(tmp_path: Path) -> None:
    folder = many(tmp_path / "images")
    write(tmp_path / "before", folder_recipe(folder))
    put(folder, "new.png", encoded(picture(99)), "new")
    manifest = write(tmp_path / "after", folder_recipe(folder))
    before, after = ((tmp_path / name / "identities.txt").read_text().split() for name in ("before", "after"))
    added = set(after) - set(before)
    assert len(added) == 1 and [identity for identity in after if identity not in added] == before
    assert after == sorted(after, key=hash_order) and len(manifest["shards"]) == 5
    for pairs in (15, 30):
        write_subset(tmp_path / f"First-{pairs}", f"First-{pairs}", tmp_path / "after/manifest.json", pairs)
        subset = read_json(tmp_path / f"First-{pairs}/manifest.json")
        assert subset["order_digest"] == order_digest(after[:pairs])


def test_a_table_gives_several_captions_an_image_and_counts_every_row(tmp_path: Path) -> None:
    images = many(tmp_path / "images", 4)
    rows = [
        ("0/0.png", "first", "0.9"),
        (f"{images}/0/0.png", "second", "0.9"),  # an absolute path below the root is the same image
        ("./0/0.png", "first", "0.8"),  # the first row once more
        ("1/1.png", "unlike", "0.1"),
        ("2/2.png", "unknown", ""),
        ("gone.png", "gone", "0.9"),
        ("../secret.png", "outside", "0.9"),
        ("", "no path", "0.9"),
        ("0/3.png", "", "0.9"),
    ]
    table = tmp_path / "pairs.tsv"
    table.write_text("\n".join("\t".join(row) for row in [("file", "text", "score"), *rows]) + "\n")
    columns = {"image": "file", "caption": "text", "similarity": "score"}
    filters = {"similar": "similarity >= 0.3"}
    recipe = table_recipe(table, root=str(images), columns=columns, filters=filters, is_repeat_dropped=False)
    manifest = write(tmp_path / "out", recipe)
    assert manifest["counts"]["kept"] == 2 and manifest["counts"]["parsed"] == 9
    assert manifest["counts"]["dropped"] == {
        "repeated_row": 1,
        "filter_similar": 1,
        "filter_similar_missing": 1,
        "missing_image": 1,
        "outside_root": 1,
        "no_path": 1,
        "no_caption": 1,
    }
    assert samples(tmp_path / "out").keys() == {"0/0.png"}
    assert json.loads(samples(tmp_path / "out")["0/0.png"]["json"])["listed"] == {"similarity": 0.9}
    dropped = write(tmp_path / "out", recipe.model_copy(update={"is_repeat_dropped": True}))["counts"]["dropped"]
    assert dropped["repeated_image"] == 1


def test_a_held_out_image_stays_out_of_training_under_its_other_captions_too(tmp_path: Path) -> None:
    images = many(tmp_path / "images", 12)
    lines = [f"{n % 3}/{n}.png,caption {n} {view}" for n in range(12) for view in "ab"]
    (images / "pairs.csv").write_text("\n".join(["image,caption", *lines]) + "\n")
    held_out = {"test": {"kind": "zeroshot_retrieval", "pairs": 10}}
    recipe = table_recipe(images / "pairs.csv", held_out=held_out, is_repeat_dropped=False)
    counts = write(tmp_path / "out", recipe)["counts"]
    # Ten test images of twelve, each with a second caption; two images are left, with both of theirs.
    assert counts == {"parsed": 24, "kept": 4, "held_out": {"test": 10}, "dropped": {"image_in_test": 10}}


def test_too_many_faults_end_with_an_error_that_counts_and_lists_them(tmp_path: Path) -> None:
    folder = faulty_folder(tmp_path / "images")
    with pytest.raises(DataError, match=r"5 of 18 images cannot be used .*allows 0\.2.*left_out\.tsv"):
        write(tmp_path / "out", folder_recipe(folder, max_lost_fraction=0.2, **FAULTS))
    assert (tmp_path / "out/left_out.tsv").is_file() and not (tmp_path / "out/manifest.json").exists()


def test_a_folder_of_other_files_says_which_there_are_and_which_are_read(tmp_path: Path) -> None:
    for number in range(12):
        put(tmp_path / "scans", f"{number}.bmp", encoded(picture(number), "BMP"))
        put(tmp_path / "scans", f"{number}.tif", encoded(picture(50 + number), "TIFF"))
        (tmp_path / f"scans/{number}.json").write_text(json.dumps({"text": [f"scan {number}", f"page {number}"]}))
    with pytest.raises(DataError) as error:
        write(tmp_path / "out", folder_recipe(tmp_path / "scans"))
    said = str(error.value)
    assert "12 .bmp, 12 .json, 12 .tif; wanted are .jpg, .jpeg, .png, .webp, .gif" in said
    assert "`sources.mine.image_suffixes` names others" in said and "max_lost_fraction" not in said
    with pytest.raises(DataError) as error:
        write(tmp_path / "out", folder_recipe(tmp_path / "scans", image_suffixes=[".bmp"]))
    said = str(error.value)
    assert "The caption of 0.bmp would be 0.txt. Other files there: 12 .json, 12 .tif" in said
    assert "`sources.mine.caption_suffix` names" in said and "`caption_key`" in said
    asked: dict[str, Any] = {"image_suffixes": [".bmp", ".tif"], "caption_suffix": ".json", "caption_key": "text"}
    manifest = write(tmp_path / "out", folder_recipe(tmp_path / "scans", **asked))
    assert manifest["counts"]["kept"] == 48  # two captions an image
    assert {key: manifest["recipe"][key] for key in asked} == asked
    with pytest.raises(ValidationError, match="image_suffixes: .svg is none of"):
        folder_recipe(tmp_path, image_suffixes=[".svg"])


@pytest.mark.parametrize("content", ["{", "[]", '{"text": 3}', '{"text": []}', '{"caption": "x"}'])
def test_a_json_without_the_caption_is_a_missing_caption(tmp_path: Path, content: str) -> None:
    folder = many(tmp_path / "images", 12)
    for path in list(folder.rglob("*.txt")):
        path.with_suffix(".json").write_text(json.dumps({"text": path.read_text()}))
    (folder / "0/0.json").write_text(content)
    manifest = write(tmp_path / "out", folder_recipe(folder, caption_suffix=".json", caption_key="text"))
    assert (manifest["counts"]["kept"], manifest["counts"]["dropped"]) == (11, {"missing_caption": 1})


def test_an_image_that_changes_between_the_passes_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clip_scaling.data.sources.files import source as file_source

    images = many(tmp_path / "images", 10)
    (images / "pairs.csv").write_text("image,caption\n" + "".join(f"{n % 3}/{n}.png,{n}\n" for n in range(10)))
    checked = file_source.check_files(file_source.list_files(recipe := table_recipe(images / "pairs.csv")), recipe, 1)
    (images / "0/0.png").write_bytes(b"other")
    with pytest.raises(DataError, match="0/0.png: changed while the source was prepared"):
        list(file_source._samples(checked.training, images, None, recipe))


def test_what_the_plan_can_know_is_refused_there_with_how_to_mend_it(tmp_path: Path) -> None:
    assert "no such folder. Relative paths start from" in folder_recipe(tmp_path / "no").refusals("mine")[0]
    assert "no such file" in table_recipe(tmp_path / "no.csv").refusals("mine")[0]
    (tmp_path / "t.csv").touch()
    (refusal,) = table_recipe(tmp_path / "t.csv", root=str(tmp_path / "no")).refusals("mine")
    assert refusal.startswith("sources.mine.root")
    assert not table_recipe(tmp_path / "t.csv").refusals("mine")
    with pytest.raises(ValidationError, match=r"filters\.s: similarity is none of aspect_ratio, caption"):
        folder_recipe(tmp_path, filters={"s": "similarity > 0"})
    with pytest.raises(ValidationError, match="columns: caption must be named"):
        table_recipe(tmp_path / "t.csv", columns={"image": "a"})
    with pytest.raises(ValidationError, match="columns: 'sha256' .* is no name for a column here"):
        table_recipe(tmp_path / "t.csv", columns={"image": "a", "caption": "b", "sha256": "c"})
    with pytest.raises(ValidationError, match="path: 'pairs.xlsx' is none of"):
        table_recipe(Path("pairs.xlsx"))


def test_folders_are_watched_below_hidden_and_linked_ones_excepted(tmp_path: Path) -> None:
    for name in ("b/c", ".git", "a"):
        (tmp_path / "top" / name).mkdir(parents=True)
    os.symlink(tmp_path / "top", tmp_path / "top/loop")
    assert [os.path.relpath(path, tmp_path) for path in folders_of(str(tmp_path / "top"))] == [
        "top",
        "top/a",
        "top/b",
        "top/b/c",
    ]
