"""Evaluation sets from files in MNIST's format."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clip_scaling.data.evaluation_sets.labelled import FASHION, read_idx, write_idx
from clip_scaling.errors import DataError
from clip_scaling.records.files import read_json


def idx(array: np.ndarray) -> bytes:
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three training and two test images of 4 x 5 pixels, each of one grey."""
    root = tmp_path / "files"
    root.mkdir()
    for split, greys in (("train", [10, 20, 30]), ("t10k", [40, 250])):
        images = np.array(greys, np.uint8)[:, None, None].repeat(4, 1).repeat(5, 2)
        (root / f"{split}-images-idx3-ubyte.gz").write_bytes(idx(images))
        (root / f"{split}-labels-idx1-ubyte.gz").write_bytes(idx(np.arange(len(greys), dtype=np.uint8)))
    return root


def test_a_set_in_mnists_format_becomes_a_webdataset_with_both_splits(folder: Path, tmp_path: Path) -> None:
    write_idx(tmp_path / "set", "fashion_mnist", folder)
    manifest = read_json(tmp_path / "set/manifest.json")
    assert (manifest["n_train"], manifest["n"], manifest["classes"]) == (3, 2, FASHION)
    with tarfile.open(tmp_path / "set/test/0.tar") as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    assert sorted(content) == ["00000.cls", "00000.png", "00001.cls", "00001.png"]
    with Image.open(io.BytesIO(content["00001.png"])) as image:
        # Ink is 255 in the files and black here.
        assert (image.size, image.getpixel((0, 0)), content["00001.cls"]) == ((5, 4), (5, 5, 5), b"1")


def test_an_axis_less_a_byte_less_or_another_format_is_refused(folder: Path, tmp_path: Path) -> None:
    labels = folder / "t10k-labels-idx1-ubyte.gz"
    whole = gzip.decompress(labels.read_bytes())
    for content, message in (
        (gzip.compress(whole[:-1]), "1 bytes for 2 values"),
        (gzip.compress(b"\0\0\x0d" + whole[3:]), "not an IDX file of bytes"),
        (labels.read_bytes()[:-9], "not a whole gzip file"),
        (idx(np.arange(3, dtype=np.uint8)), "2 test images of 2 axes, 3 labels"),
    ):
        labels.write_bytes(content)
        with pytest.raises(DataError, match=message):
            write_idx(tmp_path / "set", "mnist", folder)
    assert not (tmp_path / "set/manifest.json").exists()
    with pytest.raises(DataError, match="no such file"):
        read_idx(folder / "other.gz")
