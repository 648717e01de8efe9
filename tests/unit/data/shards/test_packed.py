from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clip_scaling.data.shards.packed import open_packed, pack, tokenize
from clip_scaling.data.shards.read import decode_image
from clip_scaling.data.shards.write import INDEX_DTYPE, write_array, write_tar
from clip_scaling.data.sources.iconify.raster import encode
from clip_scaling.data.subsets.prefix import write_subset
from clip_scaling.errors import DataError, ManifestError
from clip_scaling.models.tokenizer import load_tokenizer
from clip_scaling.records.files import FileEntry, describe_file, read_json, write_json

from ..conftest import full_disk, leftovers, scene, write_plain_manifest
from ..pictures import COLOUR, long_text, png


@pytest.fixture
def subset(small_source: Path, tmp_path: Path) -> Path:
    write_subset(tmp_path / "part", "part", small_source, 13)
    return tmp_path / "part/manifest.json"


@pytest.fixture
def merges(small_source: Path) -> Path:
    return small_source.parent / "tokenizer/merges.txt.gz"


def test_row_i_of_both_arrays_is_pair_i(subset: Path, merges: Path, tmp_path: Path) -> None:
    pack(tmp_path / "packed", subset, merges, image_size=8, context_length=6)
    packed = open_packed(tmp_path / "packed/manifest.json")
    assert packed.pixels.dtype == np.uint8 and packed.tokens.dtype == np.int32
    assert np.array_equal(packed.pixels, np.stack([scene(i) for i in range(13)]))
    # "very" and "pair" are the only words, so each is one token; pair 1 is "very very pair".
    vocabulary = packed.manifest.vocabulary_size
    start, end = vocabulary - 2, vocabulary - 1
    first, second, third = packed.tokens[1, 1:4]
    assert first == second != third
    assert packed.tokens[1].tolist() == [start, first, second, third, end, 0]


def test_captions_that_do_not_fit_are_cut_and_counted(subset: Path, merges: Path, tmp_path: Path) -> None:
    pack(tmp_path / "packed", subset, merges, image_size=8, context_length=6)
    packed = open_packed(tmp_path / "packed/manifest.json")
    # Pair i has i + 2 words, start and end: six tokens hold i = 0, 1, 2; the other ten are cut.
    assert packed.manifest.truncated_captions == 10
    assert (packed.tokens[2:, -1] == packed.manifest.vocabulary_size - 1).all()


def test_tokens_are_those_of_open_clip_s_tokenizer(merges: Path) -> None:
    tokenizer = load_tokenizer(merges, 7)
    captions = ["Very pair", "very  pair", "a pair", "very very very very very very"]
    tokens, truncated = tokenize(captions, tokenizer, 7)
    assert np.array_equal(tokens, tokenizer(captions).numpy())
    assert truncated == 1


def test_images_of_another_size_are_resized(subset: Path, merges: Path, tmp_path: Path) -> None:
    pack(tmp_path / "packed", subset, merges, image_size=4, context_length=6)
    packed = open_packed(tmp_path / "packed/manifest.json")
    assert packed.pixels.shape == (13, 4, 4, 3)
    # scene(0) is black above, white below: far from the edge nothing changes.
    assert (packed.pixels[0, 0] == 0).all() and (packed.pixels[0, 3] == 255).all()


def test_packed_arrays_are_read_only(subset: Path, merges: Path, tmp_path: Path) -> None:
    pack(tmp_path / "packed", subset, merges, image_size=8, context_length=6)
    packed = open_packed(tmp_path / "packed/manifest.json")
    with pytest.raises(ValueError, match="read-only"):
        packed.pixels[0] = 0


def test_a_cut_array_is_named(subset: Path, merges: Path, tmp_path: Path) -> None:
    pack(tmp_path / "packed", subset, merges, image_size=8, context_length=6)
    pixels = tmp_path / "packed/pixels.npy"
    pixels.write_bytes(pixels.read_bytes()[:-1])
    with pytest.raises(ManifestError, match=r"pixels.npy: \d+ bytes"):
        open_packed(tmp_path / "packed/manifest.json")


def test_a_damaged_shard_is_named(subset: Path, merges: Path, tmp_path: Path) -> None:
    shard = subset.parent / "shards/00001.tar"
    content = bytearray(shard.read_bytes())
    content[700] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ManifestError, match="shards/00001.tar: sha256 differs"):
        pack(tmp_path / "packed", subset, merges, image_size=8, context_length=6)


def replace_pair(subset: Path, members: dict[str, bytes]) -> None:
    """Put one pair, `set/bad`, into the first shard, with a manifest that agrees with it."""
    manifest = read_json(subset)
    path = subset.parent / "shards/00000.tar"
    write_tar(path, [("set/bad", members)])
    manifest["shards"][0].update(describe_file(path, subset.parent))
    write_json(subset, manifest)


def listed_subset(tmp_path: Path, pictures: list[bytes], captions: list[bytes]) -> Path:
    """A list of pairs n0, n1, ... in one existing tar; its manifest."""
    root = tmp_path / "list"
    samples = [
        (f"n{n}", {"png": each, "txt": text}) for n, (each, text) in enumerate(zip(pictures, captions, strict=True))
    ]
    spans = write_tar(root / "shards/web.tar", samples)
    write_array(root / "index.npy", np.array([(0, *span) for span in spans], INDEX_DTYPE))
    path = write_plain_manifest(root, [FileEntry.of(root / "shards/web.tar", root).with_pairs(len(samples))])
    write_json(path, read_json(path) | {"is_in_place": True})
    return path


DAMAGES: list[Callable[[bytes], bytes]] = [
    lambda png: png[: len(png) // 2],
    lambda png: png[:45] + bytes([png[45] ^ 4]) + png[46:],
    lambda png: b"",
    lambda png: b"<html>",
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_pair_that_cannot_be_read_gives_its_row_to_the_next_and_is_counted(
    merges: Path, tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    noise = [np.random.default_rng(n).integers(0, 255, (8, 8, 3), dtype=np.uint8) for n in range(20)]
    pictures = [damage(encode(each).png) if n in (7, 8, 19) else encode(each).png for n, each in enumerate(noise)]
    captions = [b"very pair" if n % 2 else b"pair" for n in range(20)]
    captions[12] = b"caf\xe9"
    subset = listed_subset(tmp_path, pictures, captions)
    pack(tmp_path / "packed", subset, merges, image_size=8, context_length=6, max_lost_fraction=0.2)
    packed = open_packed(tmp_path / "packed/manifest.json")
    stands_in = {7: 9, 8: 9, 12: 13, 19: 0}
    rows = [stands_in.get(n, n) for n in range(20)]
    assert packed.manifest.unreadable == [7, 8, 12, 19]
    assert np.array_equal(packed.pixels, np.stack([noise[n] for n in rows]))
    words = (packed.tokens > 0).sum(1) - 2
    assert words.tolist() == [1 + n % 2 for n in rows]
    assert "shards/web.tar: n7: the image cannot be decoded" in caplog.text
    with pytest.raises(
        DataError, match=r"data .*: 4 of 20 pairs cannot be read, .* allows 0\.15: shards/web\.tar: n7: "
    ) as error:
        pack(tmp_path / "strict", subset, merges, image_size=8, context_length=6, max_lost_fraction=0.15)
    assert "max_lost_fraction" in str(error.value) and "web.tar: n12: the caption is no UTF-8" in str(error.value)
    assert leftovers(tmp_path / "strict") == []


def test_sound_pairs_are_packed_without_a_word_of_unreadable_ones(subset: Path, merges: Path, tmp_path: Path) -> None:
    pack(tmp_path / "packed", subset, merges, image_size=8, context_length=6, max_lost_fraction=0.5)
    assert "unreadable" not in read_json(tmp_path / "packed/manifest.json")


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_image_of_an_own_shard_that_cannot_be_decoded_is_named_by_shard_and_key(
    subset: Path, merges: Path, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    png = encode(np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)).png
    replace_pair(subset, {"png": damage(png), "txt": b"pair"})
    with pytest.raises(DataError, match=r"shards/00000.tar: set/bad: the image cannot be decoded"):
        pack(tmp_path / "packed", subset, merges, image_size=8, context_length=6)
    assert leftovers(tmp_path / "packed") == []


def test_a_copy_and_a_list_meet_the_same_images_as_sound(subset: Path, merges: Path, tmp_path: Path) -> None:
    manifest = read_json(subset)
    path = subset.parent / "shards/00000.tar"
    drawn = png((8, 8), 8, COLOUR, [bytes([row * 20, 100, 50]) * 8 for row in range(8)], long_text())
    spans = write_tar(path, [(f"set/{number}", {"png": drawn, "txt": b"pair"}) for number in range(10)])
    manifest["shards"][0].update(describe_file(path, subset.parent))
    index = np.load(subset.with_name("index.npy"))
    index["offset"][:10], index["size"][:10] = np.array(spans).T
    np.save(subset.with_name("index.npy"), index)
    for entry in manifest["files"]:
        entry.update(describe_file(subset.parent / entry["path"], subset.parent))
    for name, form in (("copied", {"is_copied": True}), ("listed", {"is_in_place": True})):
        write_json(subset, manifest | form)
        pack(tmp_path / name, subset, merges, image_size=8, context_length=6)
        assert (open_packed(tmp_path / name / "manifest.json").pixels[:10] == decode_pixels(drawn)).all()


def decode_pixels(content: bytes) -> np.ndarray:
    return np.asarray(decode_image(content))


def test_a_shard_with_fewer_pairs_than_promised_is_named(subset: Path, merges: Path, tmp_path: Path) -> None:
    replace_pair(subset, {"png": encode(scene(0)).png, "txt": b"pair"})
    with pytest.raises(DataError, match="shards/00000.tar: 1 pairs, the manifest promises 10"):
        pack(tmp_path / "packed", subset, merges, image_size=8, context_length=6)


def test_a_full_disk_leaves_no_manifest_and_no_temporary_file(subset: Path, merges: Path, tmp_path: Path) -> None:
    with full_disk(2_000), pytest.raises(OSError):
        pack(tmp_path / "packed", subset, merges, image_size=8, context_length=6)
    assert leftovers(tmp_path / "packed") == []


def test_packing_twice_gives_the_same_bytes(subset: Path, merges: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        pack(tmp_path / folder, subset, merges, image_size=8, context_length=6)
    for name in ("manifest.json", "pixels.npy", "tokens.npy"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
