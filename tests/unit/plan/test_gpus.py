"""A plan against the GPUs of the machine that is to run it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clip_scaling.errors import ConfigError
from clip_scaling.plan.files import full_plan
from clip_scaling.plan.gpus import check_gpus, gpu_problems
from clip_scaling.plan.schedule import jobs_of, machines_of
from clip_scaling.plan.table import Plan, make_plan
from clip_scaling.study.resolve import load_study


def problems(raw: dict[str, Any], repository: Path, root: Path, here: int, **train: Any) -> list[str]:
    study = load_study(raw | {"resources": {"train": train}}, repository)
    return gpu_problems(make_plan(study, root), study, here)


def test_more_ranks_than_gpus_are_refused_at_the_plan(raw: dict[str, Any], repository: Path, tmp_path: Path) -> None:
    assert problems(raw, repository, tmp_path, 2, gpus=2) == []
    assert problems(raw, repository, tmp_path, 0) == []
    (said,) = problems(raw, repository, tmp_path, 1, gpus=2)
    assert said.startswith("resources.train: 2 ranks need a GPU each, and this machine has 1: Model-ViT-")
    assert said.endswith("and 7 more")
    # Without a cluster one machine carries all nodes' ranks.
    assert "4 ranks" in problems(raw, repository, tmp_path, 2, gpus=2, nodes=2)[0]


def test_a_precision_of_gpus_is_refused_on_a_machine_without(
    raw: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    raw["recipe"]["defaults"]["precision"] = "tf32"
    (said,) = problems(raw, repository, tmp_path, 0)
    assert said.startswith("recipe.precision 'tf32' needs a GPU, and resources.train.gpus: auto finds none here: Model")
    assert "none that torch could use" in problems(raw, repository, tmp_path, 0, gpus=1)[0]


def test_a_gpu_for_evaluations_is_refused_on_a_machine_without(
    raw: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    def found(here: int, **resources: Any) -> list[str]:
        study = load_study(raw | {"resources": resources}, repository)
        return gpu_problems(make_plan(study, tmp_path), study, here)

    assert found(0, evaluate={"gpus": "auto"}, fine_tune={"gpus": 1}) == found(1, evaluate={"gpus": 1}) == []
    (said,) = found(0, overrides=[{"model": "ViT-nano-8", "evaluate": {"gpus": 1}}])
    assert said.startswith("resources.evaluate.gpus: 1, and this machine has none that torch could use: Model-ViT-nano")
    assert said.endswith("and 3 more")


def test_the_refusal_names_the_next_step(raw: dict[str, Any], repository: Path, tmp_path: Path) -> None:
    study = load_study(raw | {"resources": {"train": {"gpus": 2}}}, repository)
    with pytest.raises(ConfigError, match=r"Nothing was started. Lower gpus or nodes .*--profile cluster"):
        check_gpus(make_plan(study, tmp_path), study, 1)


def test_the_plan_counts_a_cells_share_of_a_gpu(
    raw: dict[str, Any], repository: Path, tmp_path: Path, fake_gpus: Callable[..., None]
) -> None:
    fake_gpus("NVIDIA H100 80GB HBM3")
    whole, shared = (
        make_plan(load_study(raw | {"resources": {"train": {"cells_per_gpu": sharing}}}, repository), tmp_path)
        for sharing in (1, 4)
    )
    assert {row.cells_per_gpu for row in shared.rows} == {4}
    for one, four in zip(whole.rows, shared.rows, strict=True):
        assert (one.gpus, four.gpus, one.cores) == (1, 1, 0)
        assert four.gpu_hours == pytest.approx(one.gpu_hours / 4)
        assert four.wall_hours == one.wall_hours
    study = load_study(raw | {"resources": {"train": {"cells_per_gpu": 4}}}, repository)
    assert {job.devices for job in jobs_of(shared, study)} == {0.25}
    assert machines_of(study, is_cpu=False).devices == 1


def test_the_plan_names_what_cannot_be_exact(raw: dict[str, Any], repository: Path, tmp_path: Path) -> None:
    def notes(train: dict[str, Any], **recipe: Any) -> list[str]:
        changed = raw | {"resources": {"train": train}, "recipe": {"defaults": raw["recipe"]["defaults"] | recipe}}
        plan = full_plan(load_study(changed, repository), tmp_path)
        return [note for note in plan.notes if note.startswith("recipe.deterministic")]

    assert notes({"gpus": 8}) == notes({"gpus": 0}, trainer="open_clip_train") == []
    assert notes({"gpus": 8, "nodes": 2}, deterministic=False) == []
    (said,) = notes({"gpus": 8, "nodes": 2})
    assert "over several nodes" in said and "Hold it to the same nodes" in said and said.endswith("and 7 more")
    (said,) = notes({"gpus": 1}, trainer="open_clip_train")
    assert "its own kernels (recipe.trainer: clip_scaling" in said


def test_the_plan_says_what_bfloat16_would_save_on_a_gpu(
    raw: dict[str, Any], repository: Path, tmp_path: Path, fake_gpus: Callable[..., None]
) -> None:
    def plan(precision: str) -> Plan:
        changed = raw | {"recipe": {"defaults": raw["recipe"]["defaults"] | {"precision": precision}}}
        return full_plan(load_study(changed, repository), tmp_path)

    def notes(precision: str) -> list[str]:
        return [note for note in plan(precision).notes if note.startswith("recipe.precision")]

    assert notes("fp32") == []  # no GPU is here
    fake_gpus("NVIDIA H100 80GB HBM3")
    assert notes("amp_bf16") == notes("tf32") == []
    (said,) = notes("fp32")
    assert "2.8 times as long" in said and said.endswith("and 7 more")
    hours = {each: sum(row.gpu_hours for row in plan(each).rows) for each in ("fp32", "amp_bf16")}
    assert f"of {hours['fp32']:.2g} GPU-hours" in said
    # The estimate of a cell has a start-up of the same seconds in both precisions.
    assert 1.0 < hours["fp32"] / hours["amp_bf16"] <= 2129 / 754
