"""What a dry run says: the default study, other studies, single cells, and refusals."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def project(make_project: Any) -> Any:
    return make_project()


def test_the_default_study_is_planned_without_a_configfile(project: Any) -> None:
    text = project.snakemake("-n").stdout
    assert "36" in text.split("Job stats:")[1].split("train")[1].split()[0]
    assert "Missing output files" in text


def test_a_study_given_by_configfile_replaces_the_default_one(project: Any) -> None:
    jobs = project.planned(project.root / "config" / "offline.yaml")
    assert jobs["train"] == jobs["evaluate"] == 8
    assert jobs["prepare_subset"] == 2
    assert "fetch_source" not in jobs


def test_the_cluster_profile_is_planned_where_there_is_no_slurm(
    project: Any, repository: Path, path_without_slurm: str
) -> None:
    (project.root / "cluster").symlink_to(repository / "cluster")
    env = project.environment() | {"PATH": path_without_slurm}
    command = [sys.executable, "-m", "snakemake", "--profile", "cluster", "-n", "--quiet", "rules", "--configfile"]
    done = subprocess.run([*command, "config/offline.yaml"], cwd=project.root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert counts["train"] == counts["evaluate"] == "8"


def test_a_cluster_gives_evaluations_what_the_study_says_and_no_more_is_asked(
    make_project: Any, repository: Path
) -> None:
    project = make_project()
    (project.root / "workflow").unlink()
    shutil.copytree(repository / "workflow", project.root / "workflow")
    rules = project.root / "workflow" / "rules" / "evaluate.smk"
    # Snakemake lists the resources of jobs without a message alone.
    rules.write_text(rules.read_text().replace('    message:\n        "Evaluate {wildcards.cell}"\n', ""))
    overrides = [{"model": "ViT-micro-8", "evaluate": {"mem_mb": 9000, "runtime_minutes": 240, "workers": 1}}]
    study = project.study(resources={"train": {"gpus": 1}, "overrides": overrides})
    profile = repository / "config" / "profiles" / "cluster"
    text = project.snakemake("--profile", profile, "-n", "-p", "--configfile", project.write(study)).stdout
    jobs = {}
    for block in text.split("\nrule ")[1:]:
        found = dict(re.findall(r"(\w+)[=:] ?(\d+)\b", block.split("\n[")[0]))
        jobs[re.search(r"cell=Model-(\S+?)_", block)[1]] = found
    assert text.count(" --threads 2 --threads 1 --workers 1 2>&1") == 1
    names = ("gpus", "gpu_slots", "mem_mb", "runtime", "threads")
    assert [jobs["ViT-micro-8"][name] for name in names] == ["1", "0", "9000", "240", "2"]
    assert [jobs["ViT-nano-8"].get(name, "1") for name in names] == ["1", "0", "5100", "30", "1"]


def test_one_cell_is_planned_by_its_path(project: Any) -> None:
    cell = "results/offline/train/Model-ViT-nano-8_Data-Scenes-1K_Samples-8K_Seed-0/checkpoint.pt"
    jobs = project.planned(project.root / "config" / "offline.yaml", cell)
    data = {"prepare_source": 1, "prepare_subset": 1, "pack_subset": 1, "prepare_evaluation": 1}
    assert jobs == data | {"train": 1}


@pytest.mark.parametrize(
    "typo",
    ["Model-ViT-nano8_Data-Scenes-1K_Samples-8K_Seed-0", "Model-ViT-nano-8_Data-Scenes-1K_Samples-9K_Seed-0"],
)
def test_a_cell_that_is_not_in_the_grid_is_refused_with_close_matches(project: Any, typo: str) -> None:
    target = f"results/offline/train/{typo}/checkpoint.pt"
    done = project.snakemake(target, "-n", "--configfile", project.root / "config" / "offline.yaml", check=False)
    assert done.returncode
    assert f"'{typo}' is not a cell of study 'offline'" in done.stdout
    assert "Model-ViT-nano-8_Data-Scenes-1K_Samples-8K_Seed-0" in done.stdout
    assert "More: docs/errors.md#workflowerror" in done.stdout


def test_a_bad_study_is_refused_at_the_plan_with_its_file(project: Any) -> None:
    study = project.study()
    study["grid"]["models"] = ["ViT-nano8"]
    done = project.snakemake("-n", "--configfile", project.write(study, "bad.yaml"), check=False)
    assert done.returncode
    assert "ConfigError in" in done.stdout and "bad.yaml" in done.stdout
    assert "'ViT-nano8'" in done.stdout and "ViT-nano-8" in done.stdout
    assert "More: docs/errors.md#configerror" in done.stdout and "Traceback" not in done.stdout


def test_braces_in_a_title_are_text_and_in_a_path_are_refused_with_the_reason(project: Any, tmp_path: Path) -> None:
    study = project.write(project.study(title="Laws {of} {dataset} & $(id)"), "braces.yaml")
    assert project.planned(study)["train"] == 2
    assert "Laws {of}" not in project.snakemake("-n", "--configfile", study).stdout.split("Error")[-1]
    folder = project.study()
    (tmp_path / "{a}").mkdir()
    (tmp_path / "{a}" / "0.tar").write_bytes(bytes(10240))
    source = {"kind": "webdataset", "tars": [str(tmp_path / "[{]a}" / "*.tar")], "pairs": "2K"}
    folder["sources"] = {"scenes": source | {"held_out": folder["sources"]["scenes"]["held_out"]}}
    done = project.snakemake("-n", "--configfile", project.write(folder, "tars.yaml"), check=False)
    assert done.returncode and "Traceback" not in done.stdout
    assert "takes the braces for a wildcard" in done.stdout or "ConfigError" in done.stdout
