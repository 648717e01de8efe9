"""A validation of a model in training measures what the suite does, on the first samples."""

from __future__ import annotations

from pathlib import Path

import torch

from clip_scaling.data.evaluation_sets.read import open_set
from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.evaluate.suite import Protocol, SuiteEvaluator
from clip_scaling.evaluate.validation import Validator
from clip_scaling.models.encode import load_cell

from .examples import random_images, write_set
from .test_suite import MODEL, place  # noqa: F401


def test_a_validation_is_an_evaluation_of_the_first_samples(place: Path, tmp_path: Path) -> None:  # noqa: F811
    captions = [f"digit {n}" for n in range(12)]
    manifests = []
    for count in (12, 8):
        of = {"txt": captions[:count]}
        folder = write_set(
            tmp_path / f"wds_{count}", random_images(12, (20, 20))[:count], of, {"dataset_type.txt": "retrieval"}
        )
        index_evaluation_set(tmp_path / f"eval-{count}", "y", folder)
        manifests.append(tmp_path / f"eval-{count}" / "manifest.json")
    encoder, _ = load_cell(place / "checkpoint.pt", place / "merges.txt.gz")
    assert encoder is not None
    validation = Validator([manifests[0]], place / "merges.txt.gz", max_samples=8, batch_size=5, loss_batch_size=4)
    found = dict(validation.of(encoder.model, MODEL, torch.device("cpu")).run())
    evaluator = SuiteEvaluator([open_set(manifests[1])], Protocol(batch_size=5, loss_batch_size=4))
    assert found == {f"{row.dataset}/{row.metric}": row.value for row in evaluator.run(encoder, "c")}
