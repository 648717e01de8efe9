"""Fixtures shared by all tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from clip_scaling.machine import gpus

REPOSITORY = Path(__file__).resolve().parent.parent
VISIBLE_OUTSIDE = os.environ.get(gpus.VISIBLE)
os.environ[gpus.VISIBLE] = ""  # at once: fixtures of a whole module start before those of a test


@pytest.fixture(scope="session", autouse=True)
def ask_driver() -> Iterator[Callable[[], bool] | None]:
    """torch's own look for GPUs. Others must not call it: the driver reads CUDA_VISIBLE_DEVICES once a process."""
    if not gpus.installed_gpus():
        yield None
        return
    import torch

    with pytest.MonkeyPatch.context() as patch:
        own = torch.cuda.is_available
        patch.setattr(torch.cuda, "is_available", lambda: False)
        yield own


@pytest.fixture(autouse=True)
def gpus_for_marked_tests_only(
    request: pytest.FixtureRequest, ask_driver: Callable[[], bool] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests run on the CPU wherever they run; those marked `gpu` see this machine's GPUs, or are skipped without."""
    if not request.node.get_closest_marker("gpu"):
        return
    if VISIBLE_OUTSIDE is None:
        monkeypatch.delenv(gpus.VISIBLE)
    else:
        monkeypatch.setenv(gpus.VISIBLE, VISIBLE_OUTSIDE)
    if ask_driver is None or not gpus.visible_gpus():
        pytest.skip("no GPU is visible")
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", ask_driver)


@pytest.fixture
def fake_gpus(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Call it with names: from then on this machine has these GPUs, for all that asks without torch."""

    def have(*names: str, memory_gb: float = 80.0) -> None:
        found = tuple(gpus.Gpu(str(n), f"GPU-{n}", name, memory_gb) for n, name in enumerate(names))
        monkeypatch.delenv(gpus.VISIBLE, raising=False)
        monkeypatch.setattr(gpus, "installed_gpus", lambda: found)

    return have


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


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """An empty file system of 1 MB and 40 inodes."""
    place = tmp_path / "small"
    place.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m,nr_inodes=40", "tmpfs", str(place)])
    if done.returncode:
        pytest.skip("no file system can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)
