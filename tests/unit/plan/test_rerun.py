"""Cells are chosen by name or filter, shown, set aside, and the old results go when the new ones exist."""

import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from clip_scaling.errors import ConfigError
from clip_scaling.plan.rerun import choose_cells, drop_replaced, plan_rerun, set_aside
from clip_scaling.plan.table import make_plan
from clip_scaling.study.resolved import ResolvedStudy

from .finished import finish
from .test_live import beat

NANO = "Model-ViT-nano-8_Data-Scenes-1K_Samples-8K_Seed-0"


def test_cells_are_chosen_by_name_and_by_filters(study: ResolvedStudy) -> None:
    assert [cell.name for cell in choose_cells(study, [NANO])] == [NANO]
    chosen = choose_cells(study, ["model=ViT-nano-8", "samples=8K"])
    assert [(cell.model, cell.samples_seen) for cell in chosen] == [("ViT-nano-8", 8000)] * 2
    assert len(choose_cells(study, ["samples=8K,32K"])) == 8
    assert len(choose_cells(study, [NANO, "model=ViT-micro-8"])) == 5


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (["Model-ViT-nano8_Data-Scenes-1K_Samples-8K_Seed-0"], "is not a cell of study 'offline'.*Model-ViT-nano-8"),
        (["model=ViT-nano8"], "model=ViT-nano8: not in the grid.*ViT-nano-8"),
        (["samples=9"], "samples=9: not in the grid"),
        (["samples=8k"], "samples_seen=8k: '8k' is not a count"),
        (["colour=red"], "chosen by model, data"),
        (["model=ViT-nano-8", "data=Scenes-8K", "samples=8K", "seed=1"], "seed=1: not in the grid"),
    ],
)
def test_a_typo_is_refused(study: ResolvedStudy, wanted: list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose_cells(study, wanted)


def test_the_old_results_stay_beside_until_the_new_ones_exist(study: ResolvedStudy, tmp_path: Path) -> None:
    cell = study.cells[NANO]
    home = finish(tmp_path, study, cell)
    shown = plan_rerun(study, [cell], tmp_path, Path("config/offline.yaml"), [])
    assert shown.lines[0] == f"train {NANO}: checkpoint.pt, train.json, curve.jsonl kept in previous/"
    assert shown.command == ["snakemake", "--configfile", "config/offline.yaml", "--cores", "all"]
    set_aside(study, [cell], tmp_path)
    assert not (home / "checkpoint.pt").exists() and (home / "previous" / "checkpoint.pt").read_bytes() == b"weights"
    row = next(row for row in make_plan(study, tmp_path).rows if row.cell == NANO)
    assert (row.state, row.reason) == ("run", "rerun asked for")
    assert drop_replaced(study, tmp_path) == [NANO]
    # Asked for again before it has run: what was kept first stays.
    set_aside(study, [cell], tmp_path)
    assert (home / "previous" / "checkpoint.pt").is_file()
    finish(tmp_path, study, cell)
    assert drop_replaced(study, tmp_path) == []
    assert not (home / "previous").exists() and (home / "checkpoint.pt").is_file()


def test_a_running_cell_is_not_set_aside(study: ResolvedStudy, tmp_path: Path) -> None:
    cell = study.cells[NANO]
    resume = tmp_path / "results" / "offline" / "train" / NANO / "resume"
    resume.mkdir(parents=True)
    beat(resume, host=socket.gethostname(), pid=os.getpid(), time=time.time())
    with pytest.raises(ConfigError, match="is running"):
        set_aside(study, [cell], tmp_path)


def test_a_cluster_profile_takes_the_place_of_cores(study: ResolvedStudy, tmp_path: Path) -> None:
    extra: Any = ["--profile", "cluster"]
    shown = plan_rerun(study, [study.cells[NANO]], tmp_path, Path("s.yaml"), extra)
    assert shown.command == ["snakemake", "--configfile", "s.yaml", "--profile", "cluster"]
