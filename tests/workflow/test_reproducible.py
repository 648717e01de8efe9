"""Two fresh runs of one study have the same numbers, to the byte, whatever else the machine does meanwhile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

# What rightly differs: times, speeds, hosts, and the files that contain them.
WHEN_AND_WHERE = {"logs", "benchmarks", "plan", "resume", "provenance.json", "report.html", "report.lock", "cells.csv"}
MEASURED = {
    "metrics.json": {"provenance", "seconds"},
    "scores.json": {"spent"},  # of the evaluation's store, as the next
    "features.safetensors": {"seconds"},
    "train.json": {"attempts", "finished", "provenance", "samples_per_second", "seconds"},
    "curve.jsonl": {"memory_mb", "pairs_per_second", "seconds", "data_wait_share"},
}


def content(path: Path) -> Any:
    """A file's bytes, or its lines without what was measured of the machine."""
    name = path.name.partition(".")[2] if path.parent.name == "store" else path.name
    if name not in MEASURED:
        return path.read_bytes()
    if path.suffix == ".safetensors":
        with safe_open(path, "np") as file:
            tensors = {key: file.get_tensor(key).tobytes() for key in file.keys()}  # noqa: SIM118 (no mapping)
            return tensors, {key: text for key, text in file.metadata().items() if key not in MEASURED[name]}
    text = path.read_text()
    parts = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]
    return [{key: value for key, value in part.items() if key not in MEASURED[name]} for part in parts]


def results(root: Path) -> dict[str, Path]:
    """Every file of the results that follows from the study alone, by its place."""
    home = root / "results"
    files = {path.relative_to(home): path for path in home.rglob("*") if path.is_file()}
    return {
        str(place): path
        for place, path in files.items()
        if not WHEN_AND_WHERE & set(place.parts) and not place.name.startswith(".") and place.suffix != ".lock"
    }


@pytest.mark.network
@pytest.mark.slow
def test_two_fresh_runs_of_the_smoke_study_are_equal_to_the_byte(make_project: Any) -> None:
    project, other = make_project(), make_project()
    study = "config/smoke.yaml"
    project.snakemake("--configfile", study, "--until", "fetch_source")
    downloads = Path("results/data/downloads")
    shutil.copytree(project.root / downloads, other.root / downloads)
    # Side by side on the same cores, which neither has for itself; one with a job at a time, the other with three.
    runs = [
        subprocess.Popen(
            [sys.executable, "-m", "snakemake", "--cores", cores, "--configfile", study],
            cwd=root,
            env=project.environment() | {"PYTHONHASHSEED": seed, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for root, cores, seed in ((project.root, "1", "1"), (other.root, "3", "2"))
    ]
    for run in runs:
        output, _ = run.communicate()
        assert run.returncode == 0, output[-6000:]
    mine, others = results(project.root), results(other.root)
    assert mine.keys() == others.keys()
    kinds = {os.path.basename(place) for place in mine}
    assert {"manifest.json", "merges.txt.gz", "pixels.npy", "checkpoint.pt", "metrics.json", "metrics.csv"} <= kinds
    assert {"laws.svg", "laws.png", "acc1.json", "laws.csv"} <= kinds
    assert [place for place in mine if content(mine[place]) != content(others[place])] == []
