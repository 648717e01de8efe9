"""Samples that cannot be read are named, or left out and counted; images are decoded once where they fit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from clip_scaling.data.evaluation_sets.read import ImageBatch, KeptImages, read_batches
from clip_scaling.data.shards.write import write_tar
from clip_scaling.errors import EvaluationError

from ...evaluate.examples import random_images, write_set
from ..pictures import COLOUR, long_text, png


def test_a_truncated_image_is_named(tmp_path: Path) -> None:
    folder = write_set(tmp_path / "t", [Image.effect_noise((64, 64), 50).convert("RGB")], {"cls": ["0"]}, {})
    tar = folder / "test" / "0.tar"
    data = bytearray(tar.read_bytes())
    data[700:3000] = bytes(2300)
    tar.write_bytes(data)
    with pytest.raises(EvaluationError, match=r"0\.tar: 000: it cannot be decoded"):
        list(read_batches(folder, 8, 1))


def test_a_png_with_a_long_text_is_read_without_it(tmp_path: Path) -> None:
    drawn = png((8, 8), 8, COLOUR, [bytes([row * 20, 100, 50]) * 8 for row in range(8)], long_text())
    path = tmp_path / "wds_z/test/0.tar"
    write_tar(path, [("000", {"png": drawn, "cls": b"0"})])
    path.with_name("nshards.txt").write_text("1")
    [batch] = read_batches(tmp_path / "wds_z", 8, 8)
    assert batch.pixels[0, :, 0, 0].tolist() == [0, 20, 40, 60, 80, 100, 120, 140]


def test_a_pair_without_a_caption_is_an_error_or_left_out_and_counted(tmp_path: Path) -> None:
    captions = {"txt": ["a dog", "\n", "a cat", "a cow"]}
    folder = write_set(tmp_path / "wds_y", random_images(4, (20, 20)), captions, {"dataset_type.txt": "retrieval"})
    with pytest.raises(EvaluationError, match="001: it has no caption"):
        list(read_batches(folder, 16, 8))
    [batch] = read_batches(folder, 16, 8, on_unreadable="skip")
    assert (batch.captions, batch.skipped) == ([["a dog"], ["a cat"], ["a cow"]], 1)


@pytest.mark.parametrize(("cap_mb", "reads"), [(1.0, 1), (1e-3, 2)], ids=["small enough to keep", "too large"])
def test_images_are_decoded_once_for_several_checkpoints_where_they_fit(cap_mb: float, reads: int) -> None:
    count = 0

    def read() -> Iterator[ImageBatch]:
        nonlocal count
        count += 1
        for value in (1, 2):
            yield ImageBatch(torch.full((2, 16, 16, 3), value, dtype=torch.uint8), [0, 1], [])  # 1,536 bytes

    kept = KeptImages(cap_mb)
    for _ in range(2):
        found = [int(batch.pixels[0, 0, 0, 0]) for batch in kept.batches("set", read)]
        assert found == [1, 2]
    assert count == reads
