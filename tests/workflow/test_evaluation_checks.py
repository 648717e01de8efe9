"""What is asked of an evaluation beside its metrics: its noise, what training repeats, states on the way."""

import csv
import json
from typing import Any

import pytest


@pytest.mark.slow
def test_noise_contamination_and_trunks_are_targets_of_their_own(make_project: Any) -> None:
    project = make_project()
    study = project.study()
    study["grid"] = {"models": ["ViT-nano-8"], "data": ["Scenes-1K"], "samples_seen": ["2K", "4K"]}
    study["recipe"]["defaults"] |= {"schedule": "wsd", "warmup_steps": 4}
    file = project.write(study)
    assert not {"measure_evaluation_noise", "check_contamination", "evaluate_trunk"} & set(project.planned(file))
    project.snakemake("evaluation_noise", "contamination", "evaluate_trunks", "--configfile", file)
    tables = project.root / "results/tiny/tables"
    with (tables / "evaluation_noise.csv").open() as text:
        noise = {(row["dataset"], row["metric"]): row for row in csv.DictReader(text)}
    assert abs(float(noise["scenes-captions", "contrastive_loss"]["change_batch_size"])) < 1e-4
    assert ("linear_probe/digits-full", "acc1") in noise
    with (tables / "contamination.csv").open() as text:
        overlap = {(row["dataset"], row["metric"]): row for row in csv.DictReader(text)}
    # No digit is a scene.
    assert float(overlap["digits", "acc1"]["overlap_share"]) == 0
    assert overlap["digits", "acc1"]["value"] == overlap["digits", "acc1"]["value_without_overlap"]
    found = sorted(project.root.glob("results/tiny/trunk/*/*/metrics.json"))
    about = [json.loads(path.read_text()) for path in found]
    assert [path.parent.name for path in found] == ["2K", "4K"]
    assert about[0]["step"] < about[1]["step"]
    assert all(record["metrics"] for record in about)
