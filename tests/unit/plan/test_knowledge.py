"""Predictions of cells that have not run, and their worth for a goal, on metrics of a known law."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clip_scaling.errors import ConfigError, LawError
from clip_scaling.plan.files import full_plan
from clip_scaling.plan.knowledge import what_it_teaches
from clip_scaling.plan.table import make_plan
from clip_scaling.study.resolved import ResolvedStudy

from .finished import finish


@pytest.fixture
def measured(study: ResolvedStudy, tmp_path: Path) -> Path:
    """All cells but the last finished, with errors of 0.9 x (compute / 1 GMAC)^-0.2 and 1 % of noise."""
    noise = np.random.default_rng(0).normal(0, 0.01, 8)
    rows = []
    for place, row in enumerate(make_plan(study, tmp_path).rows[:-1]):
        finish(tmp_path, study, study.cells[row.cell])
        error = 0.9 * row.compute_gmacs**-0.2 * np.exp(noise[place])
        rows.append(
            {
                "cell": row.cell, "model": row.model, "data": row.data, "unique_pairs": row.unique_pairs,
                "samples_seen": row.samples_seen, "seed": 0, "gmacs_per_sample": row.gmacs_per_sample,
                "compute_gmacs": row.compute_gmacs, "dataset": "scenes-colour-shape", "metric": "acc1",
                "value": 1 - error, "n": 1000, "source": "offline",
            }
        )  # fmt: skip
    path = tmp_path / "results" / "offline" / "tables" / "metrics.parquet"
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows).to_parquet(path)
    return path


def test_a_cell_that_has_not_run_is_predicted_by_the_law(study: ResolvedStudy, measured: Path, tmp_path: Path) -> None:
    plan = full_plan(study, tmp_path)
    assert plan.knowledge is not None
    assert (plan.knowledge["target"], plan.knowledge["goal"]) == ("scenes-colour-shape", "alpha")
    (row,) = plan.knowledge["cells"]
    truth = 0.9 * plan.rows[-1].compute_gmacs ** -0.2
    assert row["cell"] == plan.rows[-1].cell
    assert row["predicted"] == pytest.approx(truth, rel=0.05)
    assert row["predicted_low"] < truth < row["predicted_high"]
    assert 0 < row["shrinkage"] < 1


@pytest.mark.parametrize(
    "goal",
    [
        {"at": {"compute": 1e4, "gmacs": 1e-3, "samples": 1e5, "unique": 8000}},
        {"crossover": ["ViT-nano-8", "ViT-micro-8"]},
    ],
)
def test_goals_rank_by_what_an_hour_buys(study: ResolvedStudy, measured: Path, tmp_path: Path, goal: Any) -> None:
    found, _ = what_it_teaches(make_plan(study, tmp_path), study, measured, goal)
    assert found is not None and found["cells"][0]["rank"] == 1
    assert found["cells"][0]["shrinkage"] > 0


def test_a_goal_that_is_no_target_is_refused(study: ResolvedStudy, measured: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="goal: imagenet1k.*It has scenes-colour-shape acc1"):
        what_it_teaches(make_plan(study, tmp_path), study, measured, {"target": "imagenet1k"})


def test_a_plan_needs_no_law_of_a_target_that_has_not_been_measured(
    study: ResolvedStudy, measured: Path, tmp_path: Path
) -> None:
    pd.read_parquet(measured).assign(dataset="another").to_parquet(measured)
    plan = full_plan(study, tmp_path)
    assert plan.knowledge is None
    assert [note for note in plan.notes if "no prediction yet" in note and "'scenes-colour-shape'" in note]
    with pytest.raises(LawError):  # asked for by name it is an error
        full_plan(study, tmp_path, {"target": "scenes-colour-shape"})


def test_a_plan_of_several_distributions_predicts_none_of_them(
    study: ResolvedStudy, measured: Path, tmp_path: Path
) -> None:
    table = pd.read_parquet(measured)
    table["source"] = ["one", "two"] * 3 + ["one"]
    table.to_parquet(measured)
    plan = full_plan(study, tmp_path)
    assert plan.knowledge is None and "runs of 2 sources (one, two)" in " ".join(plan.notes)
