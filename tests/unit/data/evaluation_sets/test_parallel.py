"""Worker processes decode the batches of one process, to the bit; bad samples and lost workers end in plain errors."""

from __future__ import annotations

import io
import multiprocessing
import os
import signal
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from clip_scaling.data.evaluation_sets import parallel
from clip_scaling.data.evaluation_sets.parallel import Decoding, decoded_batches, workers_of
from clip_scaling.data.evaluation_sets.places import sample_places
from clip_scaling.data.evaluation_sets.read import ImageBatch, read_batches
from clip_scaling.errors import DataError, EvaluationError
from clip_scaling.models.preprocess import Preprocess

COUNT = 23
Member = tuple[str, bytes]


@pytest.fixture(autouse=True)
def workers_for_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "FEWEST", 1)


def picture(number: int) -> Member:
    """A JPEG, PNG or WebP of a size of its own."""
    kind = ("jpg", "png", "webp")[number % 3]
    pixels = np.random.default_rng(number).integers(0, 256, (20 + number, 50 - number, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, {"jpg": "JPEG"}.get(kind, kind))
    return kind, file.getvalue()


def members(number: int, label: bytes | None = None) -> list[Member]:
    kind, image = picture(number)
    key = f"folder/{number:03d}"
    return [(f"{key}.{kind}", image), (f"{key}.cls", label or str(number % 5).encode())]


def write_tars(root: Path, tars: list[list[Member]], split: str = "test", mtime: float = 0) -> Path:
    """A set of these tars. mtime: with a fraction, tarfile writes a PAX header before each member."""
    (root / split).mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(tars):
        with tarfile.open(root / split / f"{number}.tar", "w", format=tarfile.PAX_FORMAT) as tar:
            for name, data in content:
                info = tarfile.TarInfo(name)
                info.size, info.mtime = len(data), mtime
                tar.addfile(info, io.BytesIO(data))
    (root / split / "nshards.txt").write_text(str(len(tars)))
    return root


def plain(root: Path, mtime: float = 0) -> Path:
    """Twenty-three images in three tars."""
    tars = [[m for n in part for m in members(n)] for part in np.array_split(range(COUNT), 3)]
    return write_tars(root, tars, mtime=mtime)


def as_lists(batches: Any) -> list[tuple[Any, ...]]:
    return [(b.pixels.clone(), b.labels, b.captions, b.skipped) for b in batches]


def is_same(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> bool:
    return len(found) == len(expected) and all(
        torch.equal(a[0], b[0]) and a[1:] == b[1:] for a, b in zip(found, expected, strict=True)
    )


@pytest.mark.parametrize("mtime", [0, 0.5], ids=["plain headers", "PAX headers"])
@pytest.mark.parametrize(("workers", "batch_size", "begin"), [(1, 4, 0), (3, 5, 0), (2, 23, 0), (2, 4, 8), (2, 30, 22)])
def test_workers_give_the_batches_of_one_process(
    tmp_path: Path, workers: int, batch_size: int, begin: int, mtime: float
) -> None:
    folder, preprocess = plain(tmp_path, mtime), Preprocess(16)
    expected = as_lists(read_batches(folder, preprocess, batch_size, begin=begin))
    found = as_lists(decoded_batches(folder, preprocess, Decoding(batch_size, workers), begin=begin))
    assert is_same(found, expected)
    assert sum(len(batch[0]) for batch in found) == COUNT - begin


def test_captions_and_several_labels_come_with_their_images(tmp_path: Path) -> None:
    array = io.BytesIO()
    np.save(array, np.array([0, 1, 1]))
    tar = [[m for n in range(6) for m in (*members(n)[:1], (f"folder/{n:03d}.TXT", f"a {n}\nb {n}".encode()))]]
    tar.append([m for n in range(6) for m in (*members(n)[:1], (f"folder/{n:03d}.npy", array.getvalue()))])
    folder = write_tars(tmp_path, tar)
    found = as_lists(decoded_batches(folder, Preprocess(8), Decoding(4, 2)))
    assert is_same(found, as_lists(read_batches(folder, Preprocess(8), 4)))
    assert found[0][2][1] == ["a 1", "b 1"] and found[-1][1][-1] == [0, 1, 1]


def broken(root: Path) -> Path:
    """Samples 3, 4, 9, 21 and 22 cannot be read."""
    tars = []
    for part in np.array_split(range(COUNT), 3):
        content = []
        for number in part.tolist():
            (name, image), label = members(number)
            if number in (3, 9, 22):
                image = image[: len(image) // 2]
            content += [(name, image), (label[0], b"none") if number in (4, 21) else label]
        tars.append(content)
    return write_tars(root, tars)


@pytest.mark.parametrize("batch_size", [3, 4, 18, 30])
def test_what_cannot_be_read_is_left_out_and_counted_in_the_same_batch(tmp_path: Path, batch_size: int) -> None:
    folder = broken(tmp_path)
    expected = as_lists(read_batches(folder, 16, batch_size, on_unreadable="skip"))
    assert is_same(as_lists(decoded_batches(folder, Preprocess(16), Decoding(batch_size, 2, "skip"))), expected)


def test_the_first_sample_that_cannot_be_read_is_the_error(tmp_path: Path) -> None:
    folder = broken(tmp_path)
    with pytest.raises(EvaluationError) as expected:
        list(read_batches(folder, 16, 8))
    with pytest.raises(EvaluationError) as found:
        list(decoded_batches(folder, Preprocess(16), Decoding(8, 3)))
    assert str(found.value) == str(expected.value)
    assert "0.tar: folder/003: it cannot be decoded" in str(found.value)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    "change",
    [
        lambda tar: [*tar[:2], ("__about__/x.jpg", b"1"), *tar[2:]],
        lambda tar: [tar[0], ("plain", b"1"), *tar[1:]],
        lambda tar: [*tar[:2], (tar[0][0].upper().replace("FOLDER", "folder"), b"1"), *tar[2:]],
    ],
    ids=["metadata between", "a name without extension", "an extension twice"],
)
def test_tars_that_webdataset_reads_otherwise_are_left_to_it(
    tmp_path: Path, change: Callable[[list[Member]], list[Member]]
) -> None:
    folder = write_tars(tmp_path, [change([m for n in range(4) for m in members(n)])])
    assert sample_places(folder, "test") is None


def test_compressed_tars_are_read_by_one_process(tmp_path: Path) -> None:
    folder = plain(tmp_path)
    import gzip

    tar = folder / "test" / "0.tar"
    tar.write_bytes(gzip.compress(tar.read_bytes()))
    found = as_lists(decoded_batches(folder, Preprocess(16), Decoding(4, 2)))
    assert is_same(found, as_lists(read_batches(folder, 16, 4))) and sum(len(b[0]) for b in found) == COUNT


@pytest.mark.timeout(60)
def test_a_killed_worker_is_an_error(tmp_path: Path) -> None:
    folder = plain(tmp_path)
    batches = decoded_batches(folder, Preprocess(16), Decoding(2, 2))
    next(batches)
    os.kill(multiprocessing.active_children()[0].pid or 0, signal.SIGKILL)
    with pytest.raises(DataError, match="a worker process was killed, most likely for its memory.*fewer workers"):
        list(batches)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize("workers", [0, 2])
def test_a_tar_that_is_gone_is_named(tmp_path: Path, workers: int) -> None:
    folder = plain(tmp_path)
    batches = decoded_batches(folder, Preprocess(16), Decoding(2, workers))
    (folder / "test" / "2.tar").unlink()
    with pytest.raises(EvaluationError, match=r"test/2\.tar: no such file. Prepare the set again"):
        decoded_batches(folder, Preprocess(16), Decoding(2, workers))
    if workers:  # opened when its first sample is wanted
        with pytest.raises(EvaluationError, match=r"2\.tar: the shard cannot be opened"):
            list(batches)
        assert not multiprocessing.active_children()


def test_whoever_stops_reading_leaves_no_worker_behind(tmp_path: Path) -> None:
    batches = decoded_batches(plain(tmp_path), Preprocess(16), Decoding(2, 2))
    lent = next(batches)
    assert lent.is_lent and multiprocessing.active_children()
    kept: ImageBatch = lent.kept()
    batches.close()
    assert not multiprocessing.active_children()
    assert torch.equal(kept.pixels, next(iter(read_batches(tmp_path, 16, 2))).pixels)


def test_a_thread_has_a_worker_where_nobody_says() -> None:
    assert workers_of(None, 1, has_gpu=False) == 0  # this process decodes
    assert workers_of(None, 1, has_gpu=True) == 1
    assert workers_of(None, 4, has_gpu=False) == 4
    assert workers_of(0, 4, has_gpu=True) == 0
