"""A whole study, and what is done again after each kind of change."""

from __future__ import annotations

import copy
import json
import os
import signal
import subprocess
import sys
import time
from typing import Any

import pandas as pd
import pytest

pytestmark = pytest.mark.slow
CELL = "Model-ViT-nano-8_Data-Scenes-1K_Samples-2K_Seed-0"


def test_a_study_ends_with_every_metric_of_every_cell_its_laws_and_its_report(finished: Any) -> None:
    folder = finished.root / "results" / "tiny"
    metrics = pd.read_csv(folder / "tables" / "metrics.csv")
    assert metrics.groupby("cell")["metric"].count().tolist() == [10, 10]
    assert metrics["value"].notna().all()
    assert (metrics["ci_low"] <= metrics["value"]).all() and (metrics["value"] <= metrics["ci_high"]).all()
    assert (metrics["samples_seen"] == 16 * 128).all()
    laws = pd.read_csv(folder / "tables" / "laws.csv")
    assert {"target", "metric", "source", "method", "form", "n_points", "alpha", "beta", "r2"} <= set(laws.columns)
    assert len(laws) == 4 * 2
    assert "<svg" in (folder / "report.html").read_text()
    assert json.loads((folder / "train" / CELL / "train.json").read_text())["cell"] == CELL


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
    assert jobs["fit"] == 4 and jobs["gather_laws"] == jobs["report"] == 1
    assert not {"plan", "train", "evaluate", "collect"} & set(jobs)


def test_resources_and_titles_retrain_nothing(finished: Any) -> None:
    study = finished.study(title="Another title", resources={"train": {"mem_mb": 3000, "runtime_minutes": 5}})
    jobs = finished.planned(finished.write(study, "resources.yaml"))
    assert jobs == {"report": 1}


def test_a_failed_cell_leaves_the_others_and_its_reason(make_project: Any) -> None:
    project = make_project()
    study = project.study()
    study["recipe"]["overrides"] = [
        {"model": "ViT-nano-8", "recipe": {"learning_rate": 1.0e30, "gradient_clip": None, "warmup_fraction": 0.0}}
    ]
    done = project.snakemake("--keep-going", "--configfile", project.write(study), check=False)
    assert done.returncode
    assert "TrainingError: the loss is nan" in done.stdout
    trained = project.root / "results" / "tiny" / "train"
    assert (trained / CELL.replace("nano", "micro") / "checkpoint.pt").is_file()
    assert not (trained / CELL / "checkpoint.pt").exists()


def test_a_killed_study_continues_by_the_same_command_to_the_same_numbers(make_project: Any, finished: Any) -> None:
    project = make_project()
    study = project.write(project.study())
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(study)]
    driver = subprocess.Popen(
        command, cwd=project.root, env=project.environment(), start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    packed = project.root / "results" / "data" / "Scenes-1K" / "packed" / "32px-10tokens" / "manifest.json"
    deadline = time.monotonic() + 120
    while not packed.exists() and time.monotonic() < deadline:
        time.sleep(0.1)
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
