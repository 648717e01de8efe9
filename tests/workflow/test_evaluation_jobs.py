"""An evaluation that several jobs share: other jobs, the same table, and nothing again where their number changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from .conftest import Project

CELL = "Model-ViT-nano-8_Data-Scenes-1K_Samples-2K_Seed-0"


def study_of(project: Project, jobs: int) -> Path:
    study = project.study()
    return project.write(study | {"evaluation": study["evaluation"] | {"jobs": jobs}})


def test_jobs_are_planned_and_none_is_refused(make_project: Any) -> None:
    project = make_project()
    planned = project.planned(study_of(project, 3))
    assert [planned[rule] for rule in ("cut_evaluation", "evaluate_share", "evaluate")] == [2, 6, 2]
    done = project.snakemake("-n", "--configfile", study_of(project, 0), check=False)
    assert done.returncode == 1 and "evaluation.jobs: Input should be greater than or equal to 1" in done.stdout


def test_three_jobs_gather_the_metrics_of_one_and_another_number_makes_nothing_again(copied: Project) -> None:
    assert copied.planned(study_of(copied, 3)) == {}
    home = copied.root / "results" / "tiny" / "evaluate" / CELL
    before = json.loads((home / "metrics.json").read_text())
    shutil.rmtree(home)
    three = study_of(copied, 3)
    target = f"results/tiny/evaluate/{CELL}/metrics.json"
    copied.snakemake(target, "--configfile", three)
    after = json.loads((home / "metrics.json").read_text())
    assert after["metrics"] == before["metrics"] and after["seconds"].keys() == before["seconds"].keys()
    assert not list((home / "jobs").glob("*.json"))
    # The other cell's evaluation says what each set takes.
    cut = (copied.root / "results" / "logs" / "tiny" / "evaluate" / CELL / "jobs" / "cut.log").read_text()
    assert sorted(line.split(": ")[2] for line in cut.splitlines()) == [
        "digits", "scenes-captions", "scenes-colour-shape",
    ]  # fmt: skip
    for jobs in (3, 1, 2):
        assert copied.planned(study_of(copied, jobs), target) == {}
