"""A whole study, and what is done again after each kind of change."""

from __future__ import annotations

import copy
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

pytestmark = pytest.mark.slow
CELL = "Model-ViT-nano-8_Data-Scenes-1K_Samples-2K_Seed-0"


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[Any], seconds: float = 180) -> None:
    """Until the condition holds; fails where the process ends before, or time runs out."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the driver ended before"
        assert time.monotonic() < deadline, "the time ran out"
        time.sleep(0.05)


def test_a_study_ends_with_every_metric_of_every_cell_its_laws_and_its_report(finished: Any) -> None:
    folder = finished.root / "results" / "tiny"
    metrics = pd.read_csv(folder / "tables" / "metrics.csv")
    # Three of the classification, seven of retrieval, three of the digits and one of their probe.
    assert metrics.groupby("cell")["metric"].count().tolist() == [14, 14]
    assert metrics["value"].notna().all()
    assert (metrics["ci_low"] <= metrics["value"]).all() and (metrics["value"] <= metrics["ci_high"]).all()
    assert (metrics["samples_seen"] == 16 * 128).all()
    laws = pd.read_csv(folder / "tables" / "laws.csv")
    assert {"target", "metric", "source", "method", "form", "n_points", "alpha", "beta", "r2"} <= set(laws.columns)
    assert len(laws) == 5 * 2
    assert "<svg" in (folder / "report.html").read_text()
    assert json.loads((folder / "train" / CELL / "train.json").read_text())["cell"] == CELL
    curve = [json.loads(line) for line in (folder / "train" / CELL / "curve.jsonl").read_text().splitlines()]
    validated = [line for line in curve if "validation" in line]
    assert [line["step"] for line in validated] == [8, 16]
    assert {"scenes-captions/contrastive_loss", "scenes-captions/image_retrieval_recall@1"} <= set(
        validated[-1]["validation"]
    )
    assert [line["step"] for line in curve if "loss" in line] == list(range(1, 17))


def test_a_finished_study_has_nothing_to_do(finished: Any) -> None:
    assert finished.planned(finished.root / "study.yaml") == {}


def test_touching_scripts_and_library_retrains_nothing(finished: Any) -> None:
    for path in [*(finished.root / "scripts").glob("*.py"), *(finished.root / "workflow").rglob("*.py")]:
        path.touch()
    assert finished.planned(finished.root / "study.yaml") == {}


def test_one_override_replans_that_models_cells_only(finished: Any) -> None:
    study = finished.study()
    study["recipe"] = copy.deepcopy(study["recipe"])
    study["recipe"]["overrides"] = [{"model": "ViT-nano-8", "recipe": {"learning_rate": 1.0e-3}}]
    jobs = finished.planned(finished.write(study, "override.yaml"))
    assert jobs["train"] == jobs["evaluate"] == 1
    assert not {"prepare_source", "prepare_subset", "pack_subset", "prepare_evaluation"} & set(jobs)


@pytest.mark.parametrize(
    ("axis", "value", "new_cells"),
    [
        ("models", ["ViT-nano-8", "ViT-micro-8", "ViT-mini-8"], 1),
        ("samples_seen", ["2K", "4K"], 2),
        ("data", ["Scenes-1K", "Scenes-500"], 2),
        ("seeds", [0, 1, 2], 4),
    ],
)
def test_extending_the_grid_leaves_trained_cells_alone(finished: Any, axis: str, value: Any, new_cells: int) -> None:
    study = finished.study()
    study["data"] = study["data"] | {"Scenes-500": {"source": "scenes", "pairs": 500}}
    study["grid"][axis] = value
    jobs = finished.planned(finished.write(study, "extended.yaml"))
    assert jobs["train"] == jobs["evaluate"] == new_cells
    assert "prepare_source" not in jobs


def test_another_method_refits_the_laws_at_once_and_retrains_nothing(finished: Any) -> None:
    study = finished.study(laws={"methods": ["ols-all"]})
    jobs = finished.planned(finished.write(study, "methods.yaml"))
    assert jobs["fit"] == 5 and jobs["gather_laws"] == jobs["report"] == 1
    assert not {"plan", "train", "evaluate", "collect"} & set(jobs)


def test_resources_and_titles_retrain_nothing(finished: Any) -> None:
    study = finished.study(title="Another title", resources={"train": {"mem_mb": 3000, "runtime_minutes": 5}})
    jobs = finished.planned(finished.write(study, "resources.yaml"))
    assert jobs == {"report": 1, "gather_provenance": 1}


def test_a_failed_cell_leaves_the_others_and_its_reason(make_project: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIP_SCALING_PEER_PYTHON", "/nowhere/python")
    project = make_project()
    study = project.study()
    study["recipe"]["overrides"] = [{"model": "ViT-nano-8", "recipe": {"trainer": "open_clip_train"}}]
    done = project.snakemake("--keep-going", "--configfile", project.write(study), check=False)
    assert done.returncode
    assert "TrainingError" in done.stdout and "make env-peers" in done.stdout
    trained = project.root / "results" / "tiny" / "train"
    assert (trained / CELL.replace("nano", "micro") / "checkpoint.pt").is_file()
    assert not (trained / CELL / "checkpoint.pt").exists()


def test_a_cell_that_diverges_is_a_result_and_leaves_the_laws_alone(make_project: Any) -> None:
    project = make_project()
    study = project.study()
    study["grid"]["samples_seen"] = ["2K", "4K"]
    wild = {"learning_rate": 1.0e30, "gradient_clip": None, "warmup_fraction": 0.0}
    study["recipe"]["overrides"] = [{"model": "ViT-nano-8", "samples_seen": "2K", "recipe": wild}]
    study["evaluation"]["learning_curve"] = 1  # its first half is how the cell ends
    file = project.write(study)
    project.snakemake("--configfile", file)
    results = project.root / "results" / "tiny"
    cells = pd.read_csv(results / "tables" / "cells.csv").set_index("cell")
    assert cells["state"].value_counts().to_dict() == {"trained": 3, "diverged": 1}
    assert set(cells["unique_pairs"]) == {1000} and (cells["epochs"] == cells["samples_seen"] / 1000).all()
    assert cells.loc[CELL, "state"] == "diverged" and cells.loc[CELL, "events"] == 1
    metrics = pd.read_csv(results / "tables" / "metrics.csv")
    assert metrics["cell"].nunique() == 3 and CELL not in set(metrics["cell"])
    assert CELL not in set(pd.read_csv(results / "tables" / "learning_curves.csv")["run"])
    assert f"1 cell diverged</strong> and took no part in the laws: {CELL}" in (results / "report.html").read_text()
    assert project.planned(file) == {}


def test_a_cell_told_to_stop_is_saved_and_continues_to_the_same_numbers(make_project: Any) -> None:
    cell = "Model-ViT-micro-8_Data-Scenes-1K_Samples-30K_Seed-0"
    hashes = []
    for stop in (False, True):
        project = make_project()
        study = project.study()
        study["grid"]["samples_seen"] = ["30K"]
        target = f"results/tiny/train/{cell}/train.json"
        arguments = [target, "--configfile", project.write(study)]
        if stop:
            command = [sys.executable, "-m", "snakemake", "--cores", "2", *map(str, arguments)]
            log = project.root / "driver.log"
            with log.open("w") as file:
                driver = subprocess.Popen(
                    command, cwd=project.root, env=project.environment(), stdout=file, stderr=subprocess.STDOUT
                )
            attempts = project.root / "results/tiny/train" / cell / "resume" / "attempts.jsonl"
            wait_for(attempts.exists, driver)
            os.kill(json.loads(attempts.read_text())["pid"], signal.SIGUSR2)
            assert driver.wait(timeout=120)
            assert not (project.root / target).exists()
            assert list(attempts.parent.glob("step-*.pt")), log.read_text()[-3000:]
        project.snakemake(*arguments)
        record = json.loads((project.root / target).read_text())
        hashes.append((record["weights_sha256"], record["seen_digest"]))
        assert len(record["attempts"]) == 1 + stop
    assert hashes[0] == hashes[1]


def test_a_trunk_serves_all_budgets_and_a_new_budget_lengthens_it(make_project: Any) -> None:
    project = make_project()
    study = project.study()
    study["grid"] |= {"models": ["ViT-nano-8"], "samples_seen": ["2K", "4K"]}
    study["recipe"]["defaults"] |= {"schedule": "wsd", "warmup_steps": 4}
    file = project.write(study)
    assert project.planned(file)["train_trunk"] == 2
    project.snakemake("--configfile", file)
    cells = pd.read_csv(project.root / "results/tiny/tables/cells.csv").set_index("samples_seen")
    # 16 and 32 steps of 128 samples; the last fifth cools down: 3 and 6 steps.
    assert cells["samples_trained"].to_dict() == {2048: 3 * 128, 4096: 6 * 128}
    study["grid"]["samples_seen"] = ["2K", "4K", "8K"]
    jobs = project.planned(project.write(study))
    assert jobs["train_trunk"] == jobs["train"] == 1
    study["grid"]["samples_seen"] = ["2K", "4K"]
    study["recipe"]["defaults"]["cooldown_shape"] = "linear"
    jobs = project.planned(project.write(study))
    assert jobs["train"] == 2 and "train_trunk" not in jobs


def test_towers_are_fine_tuned_and_patched_where_the_suite_asks(make_project: Any, repository: Path) -> None:
    project = make_project()
    (project.root / "config").unlink()
    shutil.copytree(repository / "config", project.root / "config")
    suite = {
        "datasets": [
            {"dataset": "scenes-colour-shape", "metrics": ["acc1"]},
            {"dataset": "digits", "origin": "digits", "linear_probe": [5], "fine_tune": True},
        ],
        "fine_tuning": {
            "cells": {"model": "ViT-nano-8"},
            "epochs": 2,
            "mixing": [0.0, 0.5, 1.0],
            "control": "scenes-colour-shape",
        },
    }
    (project.root / "config" / "evaluation" / "tuned.yaml").write_text(yaml.safe_dump(suite))
    study = project.study(evaluation={"suite": "tuned"})
    study["grid"]["samples_seen"] = ["2K", "4K"]
    file = project.write(study)
    assert project.planned(file)["fine_tune"] == 2
    project.snakemake("--configfile", file)
    results = project.root / "results" / "tiny"
    metrics = pd.read_csv(results / "tables" / "metrics.csv")
    tuned = metrics[metrics["task"] == "fine_tune"]
    assert sorted(tuned["dataset"]) == ["fine_tune/digits"] * 2 + ["patched/digits"] * 2
    assert set(tuned["model"]) == {"ViT-nano-8"}
    mixtures = json.loads((results / "fine_tune" / CELL / "digits" / "metrics.json").read_text())["mixtures"]
    assert [entry["share"] for entry in mixtures] == [0.0, 0.5, 1.0]
    assert sum(entry["chosen"] for entry in mixtures) == 1
    laws = pd.read_csv(results / "tables" / "laws.csv")
    assert {"linear_probe/digits-5-shot", "fine_tune/digits", "patched/digits"} <= set(laws["target"])
    assert project.planned(file) == {}


def test_a_killed_study_continues_by_the_same_command_to_the_same_numbers(make_project: Any, finished: Any) -> None:
    project = make_project()
    study = project.write(project.study())
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(study)]
    driver = subprocess.Popen(
        command, cwd=project.root, env=project.environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    packed = project.root / "results" / "data" / "Scenes-1K" / "packed" / "32px-10tokens" / "manifest.json"
    wait_for(packed.exists, driver)
    time.sleep(3)  # the training jobs have started
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    project.snakemake("--configfile", study)
    for cell in (CELL, CELL.replace("nano", "micro")):
        records = [
            json.loads((p.root / "results/tiny/train" / cell / "train.json").read_text()) for p in (project, finished)
        ]
        assert records[0]["weights_sha256"] == records[1]["weights_sha256"]


def test_two_drivers_of_one_study_are_not_let_in(make_project: Any) -> None:
    import fcntl

    project = make_project()
    lock = project.root / "results" / "tiny" / ".lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = project.snakemake("--configfile", project.write(project.study()), check=False)
    assert done.returncode
    assert "Another snakemake is running study 'tiny'" in done.stdout


def test_two_studies_that_share_a_source_start_together_and_it_is_prepared_once(make_project: Any) -> None:
    project = make_project()
    files = [project.write(project.study(study=name), f"{name}.yaml") for name in ("one", "two")]
    wanted = "results/data/Scenes-1K/manifest.json"
    drivers = [
        subprocess.Popen(
            [sys.executable, "-m", "snakemake", wanted, "--cores", "1", "--configfile", str(file)],
            cwd=project.root, env=project.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for file in files
    ]  # fmt: skip
    texts = [driver.communicate(timeout=600)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], "\n".join(texts)
    waited = [text for text in texts if "Waiting for results/data/" in text]
    assert len(waited) == 1 and "makes it." in waited[0]
    for what in ("Prepare source scenes:", "Prepare subset Scenes-1K:"):
        assert [bool(text.count(what)) for text in texts].count(True) == 1, what
