"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def published() -> Path:
    """Folder of the paper's released tables, which carry no licence and are never committed.

    Set CLIP_SCALING_PUBLISHED to a folder that holds them; without one these tests are skipped.
    """
    folder = Path(os.environ.get("CLIP_SCALING_PUBLISHED", REPOSITORY.parent / "shared" / "published"))
    if not (folder / "zeroshot_results.csv").is_file():
        pytest.skip(f"the released tables are not in {folder}")
    return folder


@pytest.fixture
def path_without_slurm(tmp_path: Path) -> str:
    """A PATH of this interpreter and the system's tools, less the commands of a Slurm that may be installed."""
    slurms = {"sbatch", "srun", "sacct", "sacctmgr", "squeue", "scontrol", "scancel", "sinfo", "salloc"}
    tools = tmp_path / "tools"
    tools.mkdir()
    for folder in ("/usr/bin", "/bin"):
        for name in set(os.listdir(folder)) - slurms - set(os.listdir(tools)):
            (tools / name).symlink_to(Path(folder) / name)
    return f"{Path(sys.executable).parent}:{tools}"
