"""The device that a rank takes is the one that the study asks for."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clip_scaling.errors import TrainingError
from clip_scaling.study.config.resources import TrainResources
from clip_scaling.train import distributed, pilot
from clip_scaling.train.distributed import choose_device

CPU = torch.device("cpu")


def rank(rank: int, size: int, **more: str) -> dict[str, str]:
    """The environment of a rank that the launcher started on this machine."""
    place = {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(rank), "LOCAL_WORLD_SIZE": str(size)}
    return place | more


@pytest.fixture
def torch_sees(monkeypatch: pytest.MonkeyPatch) -> Any:
    return lambda count: monkeypatch.setattr(distributed, "gpu_count", lambda: count)


@pytest.mark.parametrize(
    ("gpus", "count", "environment", "device"),
    [
        ("auto", 0, {}, "cpu"),
        ("auto", 1, {}, "cuda:0"),
        ("auto", 8, {}, "cuda:0"),
        (0, 8, {}, "cpu"),
        (1, 8, {}, "cuda:0"),
        (4, 1, {}, "cuda:0"),  # one rank of it alone, by hand
        (2, 2, rank(1, 2), "cuda:1"),
        ("auto", 2, rank(1, 2), "cuda:1"),
        ("auto", 1, rank(1, 2), "cpu"),
        ("auto", 1, rank(0, 2), "cpu"),
        # srun that shows each rank its own GPU.
        (4, 1, rank(3, 4, SLURM_LOCALID="3", SLURM_STEP_NUM_TASKS="4"), "cuda:0"),
    ],
)
def test_a_rank_takes_what_the_study_asks_for(
    torch_sees: Any, gpus: Any, count: int, environment: dict[str, str], device: str
) -> None:
    torch_sees(count)
    assert choose_device(gpus, environment) == torch.device(device)


def test_more_ranks_than_gpus_are_one_error(torch_sees: Any) -> None:
    torch_sees(1)
    with pytest.raises(TrainingError, match=r"2 ranks on one machine need a GPU each .*gpus: 2.* torch sees 1\. Lower"):
        choose_device(2, rank(0, 2))
    with pytest.raises(SystemExit) as left:  # without a word: the first rank's is enough
        choose_device(2, rank(1, 2))
    assert left.value.code == 1


def test_a_gpu_that_is_asked_for_and_not_there_is_an_error(torch_sees: Any) -> None:
    torch_sees(0)
    with pytest.raises(TrainingError, match="torch sees 0.*`nvidia-smi` shows"):
        choose_device(1, {})


def test_auto_is_one_gpu_a_rank_where_the_machine_has_them(fake_gpus: Any) -> None:
    assert TrainResources().gpus_per_node == 0
    fake_gpus("NVIDIA H100 80GB HBM3")
    assert TrainResources().gpus_per_node == 1
    assert TrainResources(gpus=0).gpus_per_node == 0
    assert TrainResources(tasks_per_node=2).gpus_per_node == 0
    fake_gpus("NVIDIA H100 80GB HBM3", "NVIDIA H100 80GB HBM3")
    assert TrainResources().gpus_per_node == 1
    assert TrainResources(tasks_per_node=2).gpus_per_node == 2


def test_a_pilots_speed_is_of_the_device_that_it_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pilot, "gpu_name", lambda device: ("NVIDIA H100 80GB HBM3", 85.0))
    assert pilot.kind_used(torch.device("cpu"), "A100-40GB") == "cpu core"
    assert pilot.kind_used(torch.device("cuda", 0), None) == "H100-80GB"
    assert pilot.kind_used(torch.device("cuda", 0), "A100-40GB") == "H100-80GB"


def test_the_way_to_a_device_changes_no_rank() -> None:
    """A study that is planned on one machine and trained on another has the same ranks on both."""
    assert [TrainResources(gpus=gpus).ranks for gpus in ("auto", 0, 1, 4)] == [1, 1, 1, 4]


@pytest.mark.gpu
def test_a_rank_on_a_machine_with_gpus_takes_one_only_where_it_is_asked_to() -> None:
    assert choose_device("auto", {}) == choose_device(1, {}) == torch.device("cuda", 0)
    assert choose_device(0, {}) == CPU
    count = torch.cuda.device_count()
    with pytest.raises(TrainingError, match=f"torch sees {count}"):
        choose_device(count + 1, rank(0, count + 1))
