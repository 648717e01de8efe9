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
    assert not {"measure_evaluation_noise", "check_contamination", "evaluate_state"} & set(project.planned(file))
    project.snakemake("evaluation_noise", "contamination", "learning_curves", "--configfile", file)
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
    with (tables / "learning_curves.csv").open() as text:
        runs = {row["run"] for row in csv.DictReader(text)}
    assert runs == {
        f"Model-ViT-nano-8_Data-Scenes-1K_{rest}" for rest in ("Seed-0", "Samples-2K_Seed-0", "Samples-4K_Seed-0")
    }


def test_cells_are_evaluated_on_their_way_and_end_with_the_same_weights(make_project: Any) -> None:
    project = make_project()
    study = project.study()
    study["grid"] |= {"models": ["ViT-nano-8"]}
    cell = "Model-ViT-nano-8_Data-Scenes-1K_Samples-2K_Seed-0"
    record = project.root / f"results/tiny/train/{cell}/train.json"
    project.snakemake(f"results/tiny/train/{cell}/train.json", "--configfile", project.write(study))
    without = json.loads(record.read_text())
    study["evaluation"]["learning_curve"] = 3
    file = project.write(study)
    jobs = project.planned(file)
    assert jobs["train_part"] == jobs["evaluate_state"] == 3 and jobs["train"] == jobs["gather_learning_curves"] == 1
    project.snakemake("--configfile", file)
    found = json.loads(record.read_text())
    assert (found["weights_sha256"], found["seen_digest"]) == (without["weights_sha256"], without["seen_digest"])
    assert found["final_loss"] == without["final_loss"]
    # 16 steps of 128 samples, at a quarter, a half and three quarters of them, and at the end.
    with (project.root / "results/tiny/tables/learning_curves.csv").open() as text:
        rows = [row for row in csv.DictReader(text) if (row["dataset"], row["metric"]) == ("digits", "acc1")]
    assert [int(row["samples_seen"]) for row in rows] == [512, 1024, 1536, 2048]
    steps = [
        line["step"]
        for line in map(json.loads, (record.parent / "curve.jsonl").read_text().splitlines())
        if "loss" in line
    ]
    assert steps == list(range(1, 17))
    assert not project.planned(file)
