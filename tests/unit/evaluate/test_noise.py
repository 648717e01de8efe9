"""Evaluation noise is the change of a metric where only number format or batch size change."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_scaling.data.evaluation_sets.read import open_set
from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.evaluate.noise import evaluation_noise
from clip_scaling.evaluate.suite import Protocol, SuiteEvaluator
from clip_scaling.models.encode import load_cell
from clip_scaling.records.evaluation import EVALUATION_NOISE_TABLE

from .examples import random_images, write_set
from .test_suite import place  # noqa: F401


def test_noise_is_measured_of_every_metric(place: Path, tmp_path: Path) -> None:  # noqa: F811
    encoder, _ = load_cell(place / "checkpoint.pt", place / "merges.txt.gz")
    assert encoder is not None
    captions = {"txt": [f"digit {n}" for n in range(12)]}
    folder = write_set(tmp_path / "wds_y", random_images(12, (20, 20)), captions, {"dataset_type.txt": "retrieval"})
    index_evaluation_set(tmp_path / "eval-y", "y", folder)
    found = open_set(tmp_path / "eval-y" / "manifest.json")
    rows = evaluation_noise(encoder, "c", SuiteEvaluator([found], Protocol(loss_batch_size=12)), 5)
    assert len(rows) == 7 and all(list(row) == EVALUATION_NOISE_TABLE.names for row in rows)
    [loss] = [row for row in rows if row["metric"] == "contrastive_loss"]
    # fp32 has 24 bits and bfloat16 8: sums in another order move the loss in its last digits, the format in its third.
    assert loss["change_batch_size"] == pytest.approx(0, abs=1e-5)
    assert 1e-6 < abs(loss["change_amp_bf16"]) < 0.1
    assert {row["change_tf32"] for row in rows} == {None}  # a CPU has none
