"""A study from start to report under `--profile cluster`, on a real Slurm."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from .conftest import Driver, wait_for

pytestmark = pytest.mark.cluster

NANO = "Model-ViT-nano-8_Data-Scenes-1K_Samples-32K_Seed-0"
MICRO = "Model-ViT-micro-8_Data-Scenes-1K_Samples-8K_Seed-0"


def project(root: Path, repository: Path) -> Path:
    """A folder in which snakemake runs as in a fresh clone."""
    root.mkdir(exist_ok=True)
    for name in ("Snakefile", "workflow", "scripts", "config", "profiles", "cluster"):
        (root / name).symlink_to(repository / name)
    return root


def write_study(root: Path) -> Path:
    """The offline study at one data size; ViT-micro-8 trains on 2 nodes x 2 ranks."""
    study: dict[str, Any] = yaml.safe_load((root / "config/offline.yaml").read_text())
    study["sources"]["scenes"]["pairs"] = "3K"
    study["data"] = {"Scenes-1K": {"source": "scenes", "pairs": "1K"}}
    study["grid"] = {"models": ["ViT-nano-8", "ViT-micro-8"], "data": ["Scenes-1K"], "samples_seen": ["8K", "32K"]}
    study["resources"] = {
        "train": {"mem_mb": 3000, "runtime_minutes": 20},
        "overrides": [{"model": "ViT-micro-8", "train": {"nodes": 2, "tasks_per_node": 2}}],
    }
    path = root / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


def record(root: Path, cell: str) -> dict[str, Any]:
    """What the training of a cell wrote about itself."""
    found: dict[str, Any] = json.loads((root / f"results/offline/train/{cell}/train.json").read_text())
    return found


def test_the_offline_study_runs_to_its_report_with_a_cell_on_two_nodes_and_one_interrupted(
    folder: Path, repository: Path
) -> None:
    on_cluster = project(folder / "cluster", repository)
    study = write_study(on_cluster)
    driver = Driver(
        on_cluster, "--profile", "cluster", "--jobs", "3", "--configfile", str(study), "--submitit-status-seconds", "5"
    )
    progress = on_cluster / f"results/offline/train/{NANO}/resume/progress.json"
    wait_for(lambda: driver.process.poll() is not None or progress.exists(), "the first steps")
    for job in trains():
        subprocess.run(["scancel", "--signal=USR2", job], check=True)
    assert driver.ended() == 0, driver.text()[-6000:]
    assert (on_cluster / "results/offline/report.html").stat().st_size > 10_000

    assert record(on_cluster, MICRO)["ranks"] == 4
    interrupted = record(on_cluster, NANO)
    assert [attempt["from_step"] > 0 for attempt in interrupted["attempts"]] == [False, True]
    assert len({attempt["slurm_job_id"] for attempt in interrupted["attempts"]}) == 1
    assert "saved and was requeued" in driver.text()

    undisturbed = project(folder / "here", repository)
    shutil.copytree(on_cluster / "results/data", undisturbed / "results/data")
    here = Driver(
        undisturbed, f"results/offline/train/{NANO}/checkpoint.pt", "--cores", "1", "--configfile", str(study)
    )
    assert here.ended() == 0, here.text()[-6000:]
    assert record(undisturbed, NANO)["weights_sha256"] == interrupted["weights_sha256"]


def trains() -> list[str]:
    """Ids of the training jobs that run."""
    text = subprocess.run(["squeue", "-h", "-t", "R", "-o", "%i|%j"], capture_output=True, text=True, check=True).stdout
    return [line.split("|")[0] for line in text.splitlines() if line.endswith("|train")]
