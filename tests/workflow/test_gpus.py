"""A study on a machine with GPUs: the driver's library is one of this test, and torch finds none behind it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .conftest import Project

NVML = """
#include <string.h>
#include <stdio.h>
struct memory { unsigned long long total, free, used; };
int nvmlInit_v2(void) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned n, void **device) { *device = (void *)(unsigned long)(n + 1); return 0; }
int nvmlDeviceGetName(void *device, char *text, unsigned size) { strncpy(text, "NVIDIA H100", size); return 0; }
int nvmlDeviceGetUUID(void *device, char *text, unsigned size) {
    snprintf(text, size, "GPU-%lu", (unsigned long)device); return 0; }
int nvmlDeviceGetMemoryInfo(void *device, struct memory *found) { found->total = 85000000000ULL; return 0; }
"""

CELLS = [
    f"results/tiny/train/Model-ViT-{size}-8_Data-Scenes-1K_Samples-2K_Seed-0/train.json" for size in ("nano", "micro")
]


class GpuProject(Project):
    """A project on a machine of two GPUs."""

    def environment(self) -> dict[str, str]:
        return super().environment() | {"LD_LIBRARY_PATH": str(self.root), "CUDA_VISIBLE_DEVICES": "0,1"}


@pytest.fixture
def machine(make_project: Any) -> GpuProject:
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    root = make_project().root
    (root / "nvml.c").write_text(NVML)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", root / "libnvidia-ml.so.1", root / "nvml.c"], check=True)
    return GpuProject(root)


def command(machine: GpuProject, **train: Any) -> str:
    """The command of the first training job of a dry run."""
    path = machine.write(machine.study(resources={"train": train}))
    text = machine.snakemake("-n", "-p", "--configfile", path).stdout
    found = re.search(r"trap : INT TERM USR1 USR2; (.*?scripts/train.py)", text)
    assert found is not None, text
    return found[1]


@pytest.mark.parametrize(
    ("train", "wanted"),
    [
        ({}, "python -m clip_scaling.machine.pool --gpus 1 --cells-per-gpu 4 -- python scripts/train.py"),
        ({"cells_per_gpu": 1}, "python -m clip_scaling.machine.pool --gpus 1 --cells-per-gpu 1 -- python"),
        (
            {"gpus": 2},
            "python -m clip_scaling.machine.pool --gpus 2 --cells-per-gpu 1 -- python -m "
            "snakemake_executor_plugin_submitit.launch --nodes 1 --tasks-per-node 2 -- python scripts/train.py",
        ),
        ({"gpus": 0}, "python scripts/train.py"),
    ],
)
def test_a_training_job_waits_for_its_gpus(machine: GpuProject, train: dict[str, Any], wanted: str) -> None:
    assert re.sub(" +", " ", command(machine, **train)).lstrip().startswith(wanted)


@pytest.mark.parametrize(
    ("resources", "wanted"),
    [
        ({}, "python -m clip_scaling.machine.pool --gpus 1 --cells-per-gpu 4 -- python"),
        ({"train": {"gpus": 2}}, "python -m clip_scaling.machine.pool --gpus 1 --cells-per-gpu 1 -- python"),
        ({"train": {"gpus": 0}}, "env CUDA_VISIBLE_DEVICES= python"),
        (
            {"train": {"gpus": 0}, "evaluate": {"gpus": 1, "cells_per_gpu": 2}},
            "python -m clip_scaling.machine.pool --gpus 1 --cells-per-gpu 2 -- python",
        ),
        ({"evaluate": {"gpus": 0}}, "env CUDA_VISIBLE_DEVICES= python"),
    ],
)
def test_an_evaluation_takes_a_gpu_as_its_resources_say(
    machine: GpuProject, resources: dict[str, Any], wanted: str
) -> None:
    path = machine.write(machine.study(resources=resources))
    text = machine.snakemake("-n", "-p", "--configfile", path).stdout
    found = re.search(r"trap : INT TERM USR1 USR2; (.*?) scripts/evaluate.py", text)
    assert found is not None and found[1] == wanted


def test_more_gpus_than_the_machine_has_are_refused_before_the_first_job(machine: GpuProject) -> None:
    path = machine.write(machine.study(resources={"train": {"gpus": 4}}))
    done = machine.snakemake("--configfile", path, check=False)
    assert done.returncode == 1
    assert "4 ranks need a GPU each, and this machine has 2" in done.stdout
    assert not list((machine.root / "results").glob("data/*/manifest.json"))


@pytest.mark.slow
def test_the_scheduler_knows_the_machines_gpus_and_cells_train_behind_the_pool(machine: GpuProject) -> None:
    """torch has no driver here, so that `auto` trains on the CPU behind the same prefix."""
    path = machine.write(machine.study())
    done = machine.snakemake(*CELLS, "--configfile", path)
    assert 'Provided resources: gpu_slots=Resource("gpu_slots", 24)' in done.stdout
    logs = [(machine.root / f"results/logs/tiny/train/{Path(cell).parent.name}.log").read_text() for cell in CELLS]
    assert all("step=" in log for log in logs)
