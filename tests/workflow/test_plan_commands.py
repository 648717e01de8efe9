"""Plan, pilot, budget and rerun, through snakemake and the command line."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

CELL = "Model-ViT-nano-8_Data-Scenes-1K_Samples-2K_Seed-0"
OTHER = "Model-ViT-micro-8_Data-Scenes-1K_Samples-2K_Seed-0"


def clip_scaling(project: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in the project."""
    code = "import sys; from clip_scaling.cli.main import main; sys.argv[0] = 'clip-scaling'; main()"
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
    assert not list((project.root / "results" / "data").glob("[!.]*"))


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
def test_a_rerun_by_name_redoes_that_cell_and_what_follows(copied: Any) -> None:
    project = copied
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
            sys.executable, "scripts/train.py", "pilot", "--cell", CELL, "--seconds", "0.2", "--data", str(packed),
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


@pytest.mark.slow
def test_a_killed_cell_is_shown_at_once_and_the_next_run_resumes_it_and_redoes_nothing_else(copied: Any) -> None:
    project = copied
    cell = CELL.replace("2K", "30K")
    study = project.study()
    study["grid"]["include"] = [{"model": "ViT-nano-8", "data": "Scenes-1K", "samples_seen": "30K"}]
    study["resources"] = {"train": {"checkpoint_minutes": 0.01}}
    file = project.write(study)
    train, target = project.root / "results" / "tiny" / "train", f"results/tiny/evaluate/{cell}/metrics.json"
    before = {path: path.stat().st_mtime_ns for path in train.parent.glob("*/*/*.json")}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", target, "--configfile", str(file)]
    driver = subprocess.Popen(command, cwd=project.root, env=project.environment(), stderr=subprocess.DEVNULL)
    resume = train / cell / "resume"
    deadline = time.monotonic() + 180
    while not list(resume.glob("step-*.pt")):
        assert driver.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(json.loads((resume / "attempts.jsonl").read_text())["pid"], signal.SIGKILL)
    shown = json.loads(clip_scaling(project, "status", "--json", "--configfile", str(file)).stdout)
    assert {row["cell"]: row["state"] for row in shown["cells"]}[cell] == "interrupted"
    assert driver.wait(timeout=120) and not (train / cell / "train.json").exists()
    saved = max(int(path.name.split("-")[1]) for path in resume.glob("step-*.pt"))
    jobs = project.planned(file)
    assert jobs["train"] == jobs["evaluate"] == 1 and not {"prepare_source", "prepare_subset", "pack_subset"} & set(
        jobs
    )
    project.snakemake(target, "--configfile", file)
    attempts = json.loads((train / cell / "train.json").read_text())["attempts"]
    assert [attempt["from_step"] for attempt in attempts] == [0, saved]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_plan_that_the_disk_has_no_room_for_is_a_warning_at_the_start(make_project: Any, small_disk: Path) -> None:
    project = make_project()
    (project.root / "results").symlink_to(small_disk)
    study = project.write(project.study())
    asked = "results/data/scenes/manifest.json"
    done = project.snakemake(asked, "--configfile", study, check=False)
    assert "Warning: results/data and results/tiny: the plan needs up to" in done.stdout
    assert "Free some, or link results/ to a larger file system." in done.stdout
    shown = clip_scaling(project, "plan", "--dry", "--configfile", str(study)).stdout
    assert "note: results/data and results/tiny: the plan needs up to" in " ".join(shown.split())
