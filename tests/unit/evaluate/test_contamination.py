"""Images that training saw: found by their hash whatever their size, and left out of every metric."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clip_scaling.data.duplicates.hash import perceptual_hashes
from clip_scaling.data.evaluation_sets.read import open_set
from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.evaluate.contamination import contamination_rows, overlapping_rows, without_rows
from clip_scaling.evaluate.features import Features
from clip_scaling.evaluate.suite import Protocol, SuiteEvaluator

from ..data.duplicates.test_hash import scenes
from .examples import Axes, encoder_of, write_set


def test_repeated_images_are_found_and_left_out(tmp_path: Path) -> None:
    pictures = scenes(12)
    training = perceptual_hashes(pictures[:7])
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

    evaluator, encoder = SuiteEvaluator([found], Protocol()), encoder_of(Numbered())
    table = contamination_rows(evaluator, encoder, {"cell": "c", "data": "d"}, found, rows)
    by_metric = {row["metric"]: row for row in table}
    assert by_metric["acc1"]["value"] == pytest.approx(3 / 5)
    assert by_metric["acc1"]["value_without_overlap"] == 1
    assert by_metric["acc1"]["overlap_share"] == pytest.approx(2 / 5)
    every = contamination_rows(evaluator, encoder, {}, found, list(range(5)))
    assert not any("value_without_overlap" in row for row in every)
    none = contamination_rows(evaluator, encoder, {}, found, [])
    assert all(row["value_without_overlap"] == row["value"] for row in none)


def test_an_image_left_out_takes_its_captions_along() -> None:
    features = Features(
        torch.eye(3), torch.empty(0, dtype=torch.long), torch.arange(10.0).reshape(5, 2), torch.tensor([0, 0, 1, 2, 2])
    )
    kept = without_rows(features, [1])
    assert kept.images.tolist() == [[1, 0, 0], [0, 0, 1]]
    assert kept.owners.tolist() == [0, 0, 1, 1]
    assert kept.texts[:, 0].tolist() == [0, 2, 6, 8]
