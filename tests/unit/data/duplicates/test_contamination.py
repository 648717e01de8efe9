"""Images that training saw: found by their hash whatever their size, and left out of every metric."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from clip_scaling.data.duplicates.contamination import (
    contamination_rows,
    overlapping_rows,
    training_hashes,
    without_rows,
)
from clip_scaling.data.duplicates.hash import perceptual_hashes
from clip_scaling.data.evaluation_sets.held_out import index_evaluation_set
from clip_scaling.data.evaluation_sets.read import open_set
from clip_scaling.data.shards.write import write_shards
from clip_scaling.data.sources.pairs import Pair
from clip_scaling.errors import DataError
from clip_scaling.evaluate.features import Features
from clip_scaling.evaluate.suite import Protocol
from clip_scaling.models.encode import Encoder
from clip_scaling.models.preprocess import Preprocess
from clip_scaling.records.files import write_json

from ...evaluate.examples import Axes, tokenizer, write_set


def scenes(count: int, size: int = 128) -> list[Image.Image]:
    """Smooth random pictures: distinct at low frequencies, as photographs are."""
    generator = np.random.default_rng(0)
    coarse = generator.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    return [Image.fromarray(picture).resize((size, size), Image.Resampling.BICUBIC) for picture in coarse]


def test_the_hash_is_the_signs_of_low_frequencies_about_their_median() -> None:
    # Of one horizontal cosine, cos(pi (x + 1/2) 3 / 32), all 64 coefficients but (0, 0) and (0, 3) are zero.
    wave = 128 + 100 * np.cos(np.pi * (np.arange(32) + 0.5) * 3 / 32)
    image = Image.fromarray(np.tile(wave, (32, 1)).round().astype(np.uint8))
    [bits] = np.unpackbits(perceptual_hashes([image]).view(np.uint8)).reshape(1, 8, 8)
    assert bits[0, 0] == 1 and bits[0, 3] == 1


def test_different_pictures_have_different_hashes_and_changed_ones_keep_theirs() -> None:
    pictures = scenes(50)
    hashes = perceptual_hashes(pictures)
    assert len(set(hashes.tolist())) == 50

    def equal(changed: list[Image.Image]) -> float:
        return float(np.mean(perceptual_hashes(changed) == hashes))

    assert equal([picture.resize((256, 256), Image.Resampling.BICUBIC) for picture in pictures]) > 0.8
    assert equal([picture.filter(ImageFilter.GaussianBlur(1)) for picture in pictures]) > 0.8
    assert equal([picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for picture in pictures]) == 0


def test_transparent_pictures_lie_on_white() -> None:
    picture = scenes(1)[0]
    clear = picture.convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    white = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
    assert perceptual_hashes([clear]) == perceptual_hashes([white])


def write_subset(root: Path, pictures: list[Image.Image]) -> Path:
    pairs = []
    for number, picture in enumerate(pictures):
        buffer = io.BytesIO()
        picture.save(buffer, "png")
        pairs.append(Pair(f"p:{number}", "a scene", buffer.getvalue(), b""))
    shards = write_shards(root, pairs, 4)
    write_json(root / "manifest.json", {"kind": "subset", "format": 1, "name": "d", "shards": shards})
    return root / "manifest.json"


def test_repeated_images_are_found_and_left_out(tmp_path: Path) -> None:
    pictures = scenes(12)
    training = training_hashes(write_subset(tmp_path / "d", pictures[:7]))
    assert len(training) == 7
    # Images 0 and 2 of the set are training images 5 and 6; its labels make exactly those two wrong.
    chosen = [pictures[5], pictures[9], pictures[6], pictures[10], pictures[11]]
    levels = [0, 1, 2, 3, 4]
    files = {"classnames.txt": "\n".join(f"word{n}" for n in range(5)), "zeroshot_classification_templates.txt": "{c}"}
    folder = write_set(tmp_path / "wds_x", chosen, {"cls": ["3", "1", "3", "3", "4"]}, files)
    index_evaluation_set(tmp_path / "x", "x", folder)
    found = open_set(tmp_path / "x" / "manifest.json")
    rows, n = overlapping_rows(found, training)
    assert (rows, n) == ([0, 2], 5)

    class Numbered(Axes):
        """Image i of the set lies on axis i."""

        def encode_image(self, images: torch.Tensor) -> torch.Tensor:
            return torch.eye(12)[levels[: len(images)]]

    encoder = Encoder(Numbered(), tokenizer, Preprocess(8), torch.device("cpu"), {})
    table = contamination_rows(encoder, {"cell": "c", "data": "d"}, found, rows, Protocol())
    by_metric = {row["metric"]: row for row in table}
    assert by_metric["acc1"]["value"] == pytest.approx(3 / 5)
    assert by_metric["acc1"]["value_without_overlap"] == 1
    assert by_metric["acc1"]["overlap_share"] == pytest.approx(2 / 5)
    every: Any = contamination_rows(encoder, {}, found, list(range(5)), Protocol())
    assert all(row["value_without_overlap"] is None for row in every)
    none = contamination_rows(encoder, {}, found, [], Protocol())
    assert all(row["value_without_overlap"] == row["value"] for row in none)


def test_an_image_left_out_takes_its_captions_along() -> None:
    features = Features(
        torch.eye(3), torch.empty(0, dtype=torch.long), torch.arange(10.0).reshape(5, 2), torch.tensor([0, 0, 1, 2, 2])
    )
    kept = without_rows(features, [1])
    assert kept.images.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert kept.owners.tolist() == [0, 0, 1, 1]
    assert kept.texts[:, 0].tolist() == [0, 2, 6, 8]


def test_a_manifest_without_training_images_is_refused(tmp_path: Path) -> None:
    write_json(tmp_path / "manifest.json", {"kind": "source"})
    with pytest.raises(DataError, match="neither a subset nor packed pairs"):
        training_hashes(tmp_path / "manifest.json")
