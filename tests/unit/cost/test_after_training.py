"""Hours of evaluation and fine-tuning: from finished jobs, else from the speed of training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from clip_scaling.cost.results import Results
from clip_scaling.cost.speeds import START_SECONDS
from clip_scaling.plan.render import text_plan
from clip_scaling.plan.sums import totals
from clip_scaling.plan.table import make_plan
from clip_scaling.study.resolve import load_study
from clip_scaling.study.resolved import ResolvedStudy

from ..plan.finished import finish
from ..records.manifests import evaluation_manifest


def write_set(root: Path, dataset: str, images: int, classes: int, templates: int, train: int = 0) -> None:
    folder = root / "results" / "data" / f"eval-{dataset}"
    folder.mkdir(parents=True)
    about = {"n": images, "n_train": train, "classes": ["c"] * classes, "templates": ["t"] * templates}
    evaluation_manifest(**about).write(folder / "manifest.json")


def write_benchmark(root: Path, job: str, seconds: float) -> None:
    path = root / "results" / "benchmarks" / "offline" / f"{job}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\n{seconds}\t0:00:00\n")


def test_an_evaluation_is_a_start_and_a_third_of_a_training_step_for_each_image_and_prompt(
    study: ResolvedStudy, tmp_path: Path
) -> None:
    finish(tmp_path, study, next(iter(study.cells.values())), speed=1000.0)
    write_set(tmp_path, "scenes-colour-shape", images=600, classes=10, templates=3)
    write_set(tmp_path, "scenes-captions", images=250, classes=0, templates=0)
    row = make_plan(study, tmp_path).rows[0]
    assert row.evaluation_hours * 3600 == pytest.approx(START_SECONDS + (600 + 30 + 250 + 250) / 3000)
    assert row.evaluation_basis == "from the training speed; 2 of 3 sets have a known size"
    write_set(tmp_path, "digits", images=359, classes=10, templates=3, train=1438)  # probed: train is encoded too
    row = make_plan(study, tmp_path).rows[0]
    assert row.evaluation_hours * 3600 == pytest.approx(START_SECONDS + (1130 + 359 + 30 + 1438) / 3000)


def test_finished_evaluations_teach_those_of_the_same_model(study: ResolvedStudy, tmp_path: Path) -> None:
    first, second, third, *others = (cell for cell in study.cells.values() if cell.model == "ViT-nano-8")
    for cell, seconds in ((first, 5.0), (second, 9.0)):
        finish(tmp_path, study, cell)
        write_benchmark(tmp_path, f"evaluate/{cell.name}", seconds)
    plan = make_plan(study, tmp_path)
    rows = {row.cell: row for row in plan.rows}
    assert rows[second.name].evaluation_hours * 3600 == pytest.approx(9.0)
    assert rows[third.name].evaluation_hours * 3600 == pytest.approx(7.0)
    assert rows[third.name].evaluation_basis == "measured: 2 of its model"
    assert totals(plan)["evaluation_hours"] == pytest.approx(sum(row.evaluation_hours for row in plan.rows))
    assert "evaluation and fine-tuning: " in text_plan(plan)


def test_a_fine_tuned_cell_pays_for_its_epochs_and_mixtures(
    raw: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "config").mkdir()
    for entry in (repository / "config").iterdir():
        if entry.name != "evaluation":
            (tmp_path / "config" / entry.name).symlink_to(entry)
    (tmp_path / "config" / "evaluation").mkdir()
    suite = {
        "datasets": [{"dataset": "digits", "origin": "digits", "fine_tune": True}],
        "fine_tuning": {"cells": {"model": "ViT-nano-8"}, "epochs": 5, "mixing": [0.0, 0.5, 1.0]},
    }
    (tmp_path / "config" / "evaluation" / "tuned.yaml").write_text(yaml.safe_dump(suite))
    study = load_study(raw | {"evaluation": {"suite": "tuned"}}, tmp_path)
    write_set(tmp_path, "digits", images=300, classes=10, templates=3, train=1000)
    cell = next(cell for cell in study.cells.values() if cell.model == "ViT-nano-8")
    finish(tmp_path, study, cell, speed=1000.0)
    row = next(row for row in make_plan(study, tmp_path).rows if row.cell == cell.name)
    # Evaluation: 330 passes. Tuning: 5 epochs of 3 x 1000, 3 mixtures of 0.2 x 1000, the test images twice.
    passes = 330 + 15_000 + 600 + 600
    assert row.evaluation_hours * 3600 == pytest.approx(2 * START_SECONDS + passes / 3000)
    write_benchmark(tmp_path, f"evaluate/{cell.name}", 6.0)
    write_benchmark(tmp_path, f"fine_tune/{cell.name}/digits", 10.0)
    row = next(row for row in make_plan(study, tmp_path).rows if row.cell == cell.name)
    assert row.evaluation_hours * 3600 == pytest.approx(16.0)
    assert Results(tmp_path, "offline").job_seconds("evaluate/nothing") is None


def test_jobs_that_share_an_evaluation_are_counted_and_their_seconds_added(
    raw: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    study = load_study(raw | {"evaluation": raw["evaluation"] | {"jobs": 2}}, repository)
    cell = next(iter(study.cells.values()))
    finish(tmp_path, study, cell)
    for job, seconds in ((f"evaluate/{cell.name}", 3.0), (f"evaluate/{cell.name}/jobs/1-of-2", 20.0)):
        write_benchmark(tmp_path, job, seconds)
    assert make_plan(study, tmp_path).rows[0].evaluation_basis.startswith("from the training speed")
    write_benchmark(tmp_path, f"evaluate/{cell.name}/jobs/2-of-2", 21.0)
    plan = make_plan(study, tmp_path)
    assert plan.rows[0].evaluation_hours * 3600 == pytest.approx(44.0)
    assert totals(plan)["evaluation_jobs"] == 2 * len(study.cells)
    assert ", 16 jobs of evaluation (" in text_plan(plan)
