"""A stream gives the pairs of the order, whatever the workers, the ranks, the place it starts at and what is broken."""

import functools
import http.server
import io
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clip_scaling.data.shards.cache import ShardCache
from clip_scaling.data.shards.packed import open_packed, pack
from clip_scaling.data.shards.read import PairReader, decode_shrunk
from clip_scaling.data.shards.write import INDEX_DTYPE, write_array, write_tar
from clip_scaling.data.sources.iconify.raster import encode
from clip_scaling.errors import DataError
from clip_scaling.models.tokenizer import write_merges
from clip_scaling.records.files import FileEntry, describe_file, read_json, write_json
from clip_scaling.train.augment import crop_boxes
from clip_scaling.train.inputs import Batch, PackedInput
from clip_scaling.train.order import Order, add_digests, order_digest, rank_positions
from clip_scaling.train.prefetch import Prefetch
from clip_scaling.train.stream import Form, StreamInput

from ..data.conftest import write_plain_manifest, write_plain_subset

PAIRS, SHARD, SIDE, CONTEXT, BATCH = 40, 10, 8, 6, 8
WORDS = ["red", "green", "blue", "round", "flat"]


@pytest.fixture
def merges(tmp_path: Path) -> Path:
    """A tokenizer with two merges."""
    path = tmp_path / "merges.txt.gz"
    write_merges(path, ["r e", "re d</w>"])
    return path


@pytest.fixture
def subset(tmp_path: Path) -> Path:
    """Manifest of 40 pairs in four tars: images of 12 x 12 noise, captions of two words."""
    root = tmp_path / "subset"
    noise = np.random.default_rng(0).integers(0, 256, (PAIRS, 12, 12, 3), dtype=np.uint8)
    captions = [f"{WORDS[number % 5]} {WORDS[number // 5 % 5]}" for number in range(PAIRS)]
    samples = (
        (f"noise/{number}", {"png": encode(noise[number]).png, "txt": captions[number].encode()})
        for number in range(PAIRS)
    )
    return write_plain_subset(root, samples, PAIRS, SHARD)


@pytest.fixture
def open_stream(subset: Path, merges: Path) -> Iterator[Callable[..., StreamInput]]:
    """open_stream(workers=..., ranks=..., ...) over the subset; closed at the end."""
    opened = []

    def open_it(
        workers: int = 0,
        ranks: int = 1,
        crop_scale: tuple[float, float] | None = None,
        image_size: int = SIDE,
        cache: ShardCache | None = None,
        **order: Any,
    ) -> StreamInput:
        stream = StreamInput(
            PairReader.open(subset, cache), merges, Order([SHARD] * 4, seed=3, **order),
            Form(image_size, CONTEXT, crop_scale), workers=workers, ranks=ranks, batch_size=BATCH,
        )  # fmt: skip
        opened.append(stream)
        return stream

    yield open_it
    for stream in opened:
        stream.close()


def batches(data: Any, steps: range, rank: int = 0, ranks: int = 1) -> list[Batch]:
    """Copies: a stream's workers write into the same memory again."""
    found = (data.batch(rank_positions(step, BATCH, rank, ranks)) for step in steps)
    return [replace(batch, pixels=batch.pixels.clone(), tokens=batch.tokens.clone()) for batch in found]


def seen(open_stream: Callable[..., StreamInput], workers: int, ranks: int, **order: Any) -> tuple[dict, int, int]:
    """({position: pair}, digest, lost) of ten steps by all ranks."""
    found: dict[int, int] = {}
    digest = lost = 0
    for rank in range(ranks):
        stream = open_stream(workers=workers, ranks=ranks, **order)
        for step, batch in enumerate(batches(stream, range(10), rank, ranks)):
            positions = rank_positions(step, BATCH, rank, ranks)
            found.update(zip(positions.tolist(), batch.indices.tolist(), strict=True))
            digest = add_digests(digest, order_digest(positions, batch.indices))
            lost += batch.lost
    return found, digest, lost


def put(subset: Path, pair: int, inside: int, content: bytes) -> None:
    """Overwrite bytes of a pair's place in its tar, `inside` bytes from its start."""
    row = np.load(subset.parent / "index.npy")[pair]
    path = subset.parent / f"shards/{row['shard']:05d}.tar"
    path.chmod(0o644)
    with open(path, "rb+") as file:
        file.seek(int(row["offset"]) + inside)
        file.write(content)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_gives_the_bits_that_packed_pairs_give(
    open_stream: Callable[..., StreamInput], subset: Path, merges: Path, tmp_path: Path, workers: int
) -> None:
    pack(tmp_path / "packed", subset, merges, SIDE, CONTEXT)
    packed = PackedInput(open_packed(tmp_path / "packed" / "manifest.json"), Order([SHARD] * 4, seed=3))
    for ours, theirs in zip(batches(open_stream(workers), range(12)), batches(packed, range(12)), strict=True):
        assert torch.equal(ours.pixels, theirs.pixels) and torch.equal(ours.tokens, theirs.tokens)
        assert ours.indices.tolist() == theirs.indices.tolist() and ours.lost == 0


def test_random_crops_are_those_of_packed_pairs_of_the_same_size(
    open_stream: Callable[..., StreamInput], subset: Path, merges: Path, tmp_path: Path
) -> None:
    pack(tmp_path / "packed", subset, merges, 12, CONTEXT)
    order = Order([SHARD] * 4, seed=3)
    packed = PackedInput(open_packed(tmp_path / "packed" / "manifest.json"), order, (0.5, 1.0))
    stream = open_stream(workers=1, crop_scale=(0.5, 1.0), image_size=12)
    plain = open_stream(image_size=12)
    for ours, theirs, whole in zip(
        batches(stream, range(6)), batches(packed, range(6)), batches(plain, range(6)), strict=True
    ):
        assert torch.equal(ours.pixels, theirs.pixels)
        assert not torch.equal(ours.pixels, whole.pixels)


@pytest.mark.parametrize("order", [{}, {"readers": 4, "window": 3}])
def test_any_number_of_workers_and_ranks_sees_the_same_pairs_at_the_same_positions(
    open_stream: Callable[..., StreamInput], order: dict[str, Any]
) -> None:
    expected = seen(open_stream, 0, 1, **order)
    assert sorted(expected[0]) == list(range(80)) and expected[2] == 0
    for epoch in (range(PAIRS), range(PAIRS, 2 * PAIRS)):
        assert sorted(expected[0][position] for position in epoch) == list(range(PAIRS))
    for workers, ranks in ((0, 2), (0, 4), (1, 1), (1, 2), (3, 1), (3, 2), (3, 4)):
        assert seen(open_stream, workers, ranks, **order) == expected


def test_a_stream_goes_on_at_any_step_and_jumps_back(open_stream: Callable[..., StreamInput]) -> None:
    whole = batches(open_stream(), range(10))
    stream = open_stream(workers=2)
    for step in (7, 8, 2, 3, 9):
        (batch,) = batches(stream, range(step, step + 1))
        assert torch.equal(batch.pixels, whole[step].pixels) and torch.equal(batch.tokens, whole[step].tokens)


def test_unreadable_pairs_are_replaced_and_counted_by_sample(
    open_stream: Callable[..., StreamInput], subset: Path
) -> None:
    order = Order([SHARD] * 4, seed=3)
    whole = order.indices(np.arange(80))
    put(subset, 4, 512, b"no picture")  # the image's first bytes
    put(subset, 17, 0, b"\xff" * 512)  # a tar header
    size = int(np.load(subset.parent / "index.npy")[22]["size"])
    put(subset, 22, size - 512, b"\xff\xfe")  # the caption: no UTF-8
    bad = [4, 17, 22]
    expected = seen(open_stream, 0, 1)
    found, _, lost = expected
    assert lost == 6  # three pairs, two epochs
    for position, index in found.items():
        if whole[position] in bad:
            stand_in = next(
                int(pair)
                for attempt in range(9)
                for pair in order.substitutes(np.array([position]), attempt)
                if pair not in bad
            )
            assert index == stand_in
        else:
            assert index == whole[position]
    assert seen(open_stream, 1, 1) == seen(open_stream, 3, 2) == expected


def test_a_missing_caption_and_a_shard_cut_short_are_lost_pair_by_pair(
    open_stream: Callable[..., StreamInput], subset: Path
) -> None:
    index = np.load(subset.parent / "index.npy")
    (subset.parent / "shards/00003.tar").chmod(0o644)
    with open(subset.parent / "shards/00003.tar", "rb+") as file:
        file.truncate(int(index[36]["offset"]) + 100)  # pairs 36 to 39 are gone
    index["size"][0] -= 1024  # pair 0 ends before its caption: header and one block
    np.save(subset.parent / "index.npy", index)
    manifest = read_json(subset)
    manifest["files"] = [describe_file(subset.parent / "index.npy", subset.parent)]
    write_json(subset, manifest)
    assert [sum(batch.lost for batch in batches(open_stream(w), range(5))) for w in (0, 2)] == [5, 5]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_missing_shard_ends_the_run_and_says_what_to_do(
    open_stream: Callable[..., StreamInput], subset: Path, workers: int
) -> None:
    (subset.parent / "shards/00001.tar").unlink()
    with pytest.raises(DataError, match=r"00001\.tar: the shard cannot be opened .* run `snakemake .*manifest\.json`"):
        batches(open_stream(workers), range(5))


def test_when_nothing_can_be_read_the_run_ends(open_stream: Callable[..., StreamInput], subset: Path) -> None:
    for pair in range(PAIRS):
        put(subset, pair, 0, bytes(512))
    with pytest.raises(DataError, match="64 pairs in a row are unreadable, at position 0"):
        batches(open_stream(), range(1))


def test_an_index_of_other_data_is_refused(open_stream: Callable[..., StreamInput], subset: Path) -> None:
    np.save(subset.parent / "index.npy", np.load(subset.parent / "index.npy")[:39])
    with pytest.raises(DataError, match=r"index\.npy: 39 rows .* the manifest promises 40 pairs"):
        open_stream()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder and counts."""

    served: list[str] = []

    def log_message(self, format: str, *args: Any) -> None:
        self.served.append(self.path)


@pytest.fixture
def server(subset: Path) -> Iterator[str]:
    """Address of a web server on this machine that serves the subset."""
    Quiet.served.clear()
    handler = functools.partial(Quiet, directory=str(subset.parent))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        thread = threading.Thread(target=web.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{web.server_address[1]}"
        web.shutdown()
        thread.join()


def at_urls(subset: Path, base: str) -> None:
    """Let the manifest name its shards by URL."""
    manifest = read_json(subset)
    for entry in manifest["shards"]:
        entry["path"] = f"{base}/{entry['path']}"
    write_json(subset, manifest)


@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset opens http by curl")
def test_shards_at_urls_are_fetched_once_and_give_the_same_pairs(
    open_stream: Callable[..., StreamInput], subset: Path, server: str, tmp_path: Path
) -> None:
    expected = [batch.pixels for batch in batches(open_stream(), range(10))]
    at_urls(subset, server)
    cache = ShardCache(tmp_path / "cache")
    for workers in (0, 2):
        found = batches(open_stream(workers, cache=cache), range(10))
        assert all(torch.equal(batch.pixels, pixels) for batch, pixels in zip(found, expected, strict=True))
    assert sorted(Quiet.served) == [f"/shards/{number:05d}.tar" for number in range(4)]


def test_the_cache_of_shards_stays_within_its_bound(
    open_stream: Callable[..., StreamInput], subset: Path, tmp_path: Path
) -> None:
    at_urls(subset, subset.parent.as_uri())
    size = read_json(subset)["shards"][0]["bytes"]
    stream = open_stream(cache=ShardCache(tmp_path / "cache", max_bytes=2.5 * size))
    assert len(np.unique(np.concatenate([batch.indices for batch in batches(stream, range(5))]))) == PAIRS
    assert len(list((tmp_path / "cache").glob("*.tar"))) == 2


def test_a_url_that_cannot_be_fetched_or_gives_other_bytes_ends_the_run(
    open_stream: Callable[..., StreamInput], subset: Path, tmp_path: Path
) -> None:
    at_urls(subset, subset.parent.as_uri())
    (subset.parent / "shards/00001.tar").unlink()
    with pytest.raises(DataError, match=r"00001\.tar: the shard cannot be fetched"):
        batches(open_stream(cache=ShardCache(tmp_path / "cache")), range(5))
    path = subset.parent / "shards/00000.tar"
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[600] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"00000\.tar: sha256 differs"):
        batches(open_stream(cache=ShardCache(tmp_path / "other")), range(5))


def test_names_longer_than_a_tar_header_are_read(subset: Path, merges: Path) -> None:
    image = encode(np.full((12, 12, 3), 7, dtype=np.uint8)).png
    root = subset.parent.parent / "long"
    samples = [(key, {"png": image, "txt": b"red"}) for key in ("k" * 150, "ü" * 60)]
    spans = write_tar(root / "long.tar", samples)
    index = np.array([(0, *span) for span in spans], INDEX_DTYPE)
    write_array(root / "index.npy", index)
    write_plain_manifest(root, [FileEntry.of(root / "long.tar", root).with_pairs(2)])
    reader = PairReader.open(root / "manifest.json")
    stream = StreamInput(reader, merges, Order([2], 0), Form(12, CONTEXT), workers=0, ranks=1, batch_size=2)
    batch = stream.batch(np.arange(2))
    assert batch.lost == 0 and batch.pixels.unique().tolist() == [7]
    stream.close()


def test_pixels_of_a_larger_image_are_its_crop_resized_once(
    subset: Path, merges: Path, open_stream: Callable[..., StreamInput]
) -> None:
    """A stream crops the stored image, so that a box is of the original's pixels."""
    stream = open_stream(crop_scale=(0.3, 0.9))
    positions = np.arange(BATCH)
    batch = stream.batch(positions)
    boxes = crop_boxes((0.3, 0.9), 3, np.zeros(BATCH, dtype=np.int64), batch.indices, np.full((BATCH, 2), 12))
    noise = np.random.default_rng(0).integers(0, 256, (PAIRS, 12, 12, 3), dtype=np.uint8)
    for row, box in enumerate(boxes):
        image = Image.fromarray(noise[batch.indices[row]])
        expected = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=tuple(box.tolist()))
        assert batch.pixels[row].tolist() == np.asarray(expected).tolist()


def test_workers_write_into_the_batch_itself_which_holds_until_the_next_call(
    open_stream: Callable[..., StreamInput],
) -> None:
    stream, expected = open_stream(workers=2), batches(open_stream(), range(12))
    places = []
    for step in range(12):
        batch = stream.batch(rank_positions(step, BATCH, 0, 1))
        assert torch.equal(batch.pixels, expected[step].pixels) and torch.equal(batch.tokens, expected[step].tokens)
        places.append(batch.pixels.data_ptr())
    assert len(set(places)) == 3 and places[:3] * 4 == places  # one in use, two ahead


def photo(width: int, height: int, kind: str) -> bytes:
    """An image whose colours change slowly, so that it looks alike at any size."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    waves = 127 + 120 * np.sin(x / 20) * np.cos(y / 25)
    file = io.BytesIO()
    Image.fromarray(np.stack([x, y, waves], axis=2).astype(np.uint8)).save(file, kind, quality=95)
    return file.getvalue()


@pytest.mark.parametrize(
    ("width", "height", "most", "expected"),
    [(640, 480, 1, 1), (640, 480, 3, 2), (640, 480, 4, 4), (641, 481, 9, 8), (64, 48, 0, 1)],
)
def test_a_jpeg_is_decoded_at_the_size_that_is_needed(width: int, height: int, most: int, expected: int) -> None:
    asked = []

    def part(*size: int) -> int:
        asked.append(size)
        return most

    image, by = decode_shrunk(photo(width, height, "JPEG"), part)
    assert by == expected and image.size == (-(-width // by), -(-height // by)) and asked == [(width, height)]
    whole, by = decode_shrunk(photo(width, height, "PNG"), part)
    assert by == 1 and whole.size == (width, height)


def test_a_crop_of_a_large_jpeg_is_that_of_the_whole_image(tmp_path: Path, merges: Path) -> None:
    root = tmp_path / "photos"
    contents = [photo(400 + 37 * number, 500 - 11 * number, "JPEG") for number in range(8)]
    samples = [(str(number), {"jpg": content, "txt": b"red"}) for number, content in enumerate(contents)]
    spans = write_tar(root / "a.tar", samples)
    write_array(root / "index.npy", np.array([(0, *span) for span in spans], INDEX_DTYPE))
    write_plain_manifest(root, [FileEntry.of(root / "a.tar", root).with_pairs(8)])
    form, scale = Form(48, CONTEXT, (0.2, 1.0)), (0.2, 1.0)
    stream = StreamInput(
        PairReader.open(root / "manifest.json"), merges, Order([8], 0), form, workers=0, ranks=1, batch_size=8
    )
    batch = stream.batch(np.arange(8))
    stream.close()
    for row, index in enumerate(batch.indices):
        with Image.open(io.BytesIO(contents[index])) as image:
            one = np.array([index])
            box = crop_boxes(scale, 0, np.zeros(1, dtype=np.int64), one, np.array([image.size]))[0]
            expected = image.resize((48, 48), Image.Resampling.BICUBIC, box=tuple(box.tolist()))
        difference = np.abs(batch.pixels[row].numpy().astype(int) - np.asarray(expected))
        assert difference.mean() < 1 and difference.max() <= 8


def test_streamed_batches_come_ahead_too(open_stream: Callable[..., StreamInput]) -> None:
    expected = batches(open_stream(), range(12))
    ahead = Prefetch(open_stream(workers=2), BATCH, torch.device("cpu"))
    try:
        found = [ahead.batch(rank_positions(step, BATCH, 0, 1)) for step in (0, 1, 2, 3, 8, 9)]
    finally:
        ahead.close()
    for batch, step in zip(found, (0, 1, 2, 3, 8, 9), strict=True):
        assert torch.equal(batch.pixels, expected[step].pixels) and torch.equal(batch.tokens, expected[step].tokens)
