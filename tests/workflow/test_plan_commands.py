"""Plan, pilot, budget and rerun, through snakemake and the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

CELL = "Model-ViT-nano-8_Data-Scenes-1K_Samples-2K_Seed-0"
OTHER = "Model-ViT-micro-8_Data-Scenes-1K_Samples-2K_Seed-0"


def clip_scaling(project: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in the project."""
    code = "import sys; from clip_scaling.cli import main; sys.argv[0] = 'clip-scaling'; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=project.root,
        env=project.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_snakemake_and_the_command_write_the_same_plan(make_project: Any) -> None:
    project = make_project()
    study = project.write(project.study())
    assert "2 cells: 2 run" in project.snakemake("plan", "--configfile", study).stdout
    folder = project.root / "results" / "tiny" / "plan"
    by_snakemake = (folder / "grid.tsv").read_text()
    done = clip_scaling(project, "plan", "--configfile", str(study))
    assert done.returncode == 0 and "since the last plan: as the last plan" in done.stdout
    assert (folder / "grid.tsv").read_text() == by_snakemake
    assert clip_scaling(project, "status", "--json", "--configfile", str(study)).stdout.count("waiting") == 3


def test_a_study_beyond_its_budget_is_stopped_before_its_first_job(make_project: Any) -> None:
    project = make_project()
    study = project.write(project.study(budget={"max_storage_gb": 1e-6}))
    done = project.snakemake("--configfile", study, check=False)
    assert done.returncode and "budget.max_storage_gb" in done.stdout and "Nothing was started" in done.stdout
    assert not (project.root / "results" / "data").exists()


@pytest.mark.slow
def test_a_deleted_result_is_planned_again_though_all_that_follows_exists(finished: Any) -> None:
    checkpoint = finished.root / "results" / "tiny" / "train" / CELL / "checkpoint.pt"
    aside = checkpoint.with_name("aside.pt")
    checkpoint.rename(aside)
    try:
        jobs = finished.planned(finished.root / "study.yaml")
    finally:
        aside.rename(checkpoint)
    assert jobs["train"] == jobs["evaluate"] == 1


@pytest.mark.slow
def test_a_rerun_by_name_redoes_that_cell_and_what_follows(finished: Any, make_project: Any) -> None:
    project = make_project()
    for name in ("results", ".snakemake"):
        shutil.copytree(finished.root / name, project.root / name, symlinks=True)
    shutil.copy2(finished.root / "study.yaml", project.root / "study.yaml")
    train = project.root / "results" / "tiny" / "train"
    before = {name: json.loads((train / name / "train.json").read_text()) for name in (CELL, OTHER)}
    arguments = ("rerun", CELL, "--configfile", "study.yaml", "--snakemake", "--cores 2 --quiet")
    shown = clip_scaling(project, *arguments, "--dry-run")
    assert "kept in previous/" in shown.stdout
    assert "$ snakemake --configfile study.yaml --cores 2 --quiet" in shown.stdout
    assert (train / CELL / "checkpoint.pt").is_file()
    done = clip_scaling(project, *arguments)
    assert done.returncode == 0, done.stdout[-3000:]
    after = {name: json.loads((train / name / "train.json").read_text()) for name in (CELL, OTHER)}
    assert after[OTHER] == before[OTHER]
    assert after[CELL]["finished"] > before[CELL]["finished"]
    assert after[CELL]["weights_sha256"] == before[CELL]["weights_sha256"]
    assert not (train / CELL / "previous").exists()


@pytest.mark.slow
def test_a_pilot_measures_the_speed_that_the_plan_takes(finished: Any) -> None:
    data = finished.root / "results" / "data"
    record = json.loads((finished.root / "results" / "tiny" / "train" / CELL / "train.json").read_text())
    recipe = {key: record[key] for key in ("recipe", "model_config", "recipe_version")}
    packed = next((data / "Scenes-1K" / "packed").glob("*/manifest.json"))
    output: Path = finished.root / "pilot.json"
    subprocess.run(
        [
            sys.executable, "scripts/pilot.py", "--cell", CELL, "--seconds", "0.2", "--data", str(packed),
            "--tokenizer", str(data / "scenes" / "tokenizer" / "merges.txt.gz"), "--recipe", json.dumps(recipe),
            "--resume", str(finished.root / "unused"), "--output", str(output),
        ],
        cwd=finished.root, env=finished.environment(), check=True,
    )  # fmt: skip
    pilot = json.loads(output.read_text())
    assert (pilot["model"], pilot["kind"], pilot["devices"]) == ("ViT-nano-8", "cpu core", 1)
    assert pilot["samples_per_second_per_device"] == pytest.approx(pilot["steps"] * 128 / pilot["seconds"])
    assert 8 <= pilot["steps"] <= 13 and pilot["overhead_seconds"] > 0
    assert not (finished.root / "unused").exists()
