"""Which GPUs a machine has, and which of them a process may use."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from clip_scaling.machine import gpus
from clip_scaling.machine.gpus import Gpu, chosen_gpus, visible_gpus
from clip_scaling.study.config.devices import DEVICES, device_kind, figures_of, kind_of

FOUR = [Gpu(str(n), f"GPU-{n}a0{n}", "NVIDIA H100 80GB HBM3", 85.0) for n in range(4)]


@pytest.mark.parametrize(
    ("choice", "uuids"),
    [
        (None, ["GPU-0a00", "GPU-1a01", "GPU-2a02", "GPU-3a03"]),
        ("2", ["GPU-2a02"]),
        ("3, 1", ["GPU-3a03", "GPU-1a01"]),
        ("GPU-1a", ["GPU-1a01"]),
        ("MIG-7-1,MIG-7-2", ["MIG-7-1", "MIG-7-2"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("0,9,1", ["GPU-0a00"]),  # CUDA ends its list at what it does not find
    ],
)
def test_cuda_visible_devices_is_read_as_cuda_does(choice: str | None, uuids: list[str]) -> None:
    assert [gpu.uuid for gpu in chosen_gpus(FOUR, choice)] == uuids


def test_a_chosen_gpu_keeps_the_users_token() -> None:
    assert [gpu.token for gpu in chosen_gpus(FOUR, "GPU-1a,2")] == ["GPU-1a", "2"]


def test_a_torch_for_cpus_takes_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    for line, takes in [("cuda: Optional[str] = None", False), ("cuda: Optional[str] = '13.0'", True)]:
        (package / "version.py").write_text(f"__version__ = '2'\n{line}\nhip: Optional[str] = None\n")
        assert gpus._torch_takes_gpus() is takes


def test_amds_gpus_are_counted_and_its_cpus_are_not(tmp_path: Path) -> None:
    for node, simds in enumerate((0, 256, 256)):
        (tmp_path / str(node)).mkdir()
        (tmp_path / str(node) / "properties").write_text(f"cpu_cores_count {8 * (not simds)}\nsimd_count {simds}\n")
    assert len(gpus._amd_gpus(tmp_path)) == 2


@pytest.mark.parametrize(
    ("name", "memory_gb", "kind"),
    [
        ("NVIDIA H100 80GB HBM3", 85.5, "H100-80GB"),
        ("NVIDIA A100-SXM4-40GB", 42.4, "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", 0.0, "A100-80GB"),
        ("NVIDIA A100-SXM-64GB", 68.0, "A100-80GB"),
        ("Tesla V100-SXM2-32GB", 34.0, "V100-32GB"),
        ("NVIDIA GH200 480GB", 102.0, "GH200-96GB"),
        ("NVIDIA H200", 150.0, "H200-141GB"),
        ("NVIDIA GeForce RTX 4090", 25.3, "NVIDIA GeForce RTX 4090"),
    ],
)
def test_a_gpu_is_known_by_its_drivers_name(name: str, memory_gb: float, kind: str) -> None:
    assert kind_of(name, memory_gb) == kind


def test_the_kind_that_a_study_names_is_taken_where_it_is_of_that_name() -> None:
    assert kind_of("NVIDIA A100-SXM-64GB", 68.0, named="A100-40GB") == "A100-40GB"
    assert kind_of("NVIDIA H100 80GB HBM3", 85.0, named="A100-40GB") == "H100-80GB"


def test_the_plan_takes_the_kind_of_this_machine_where_the_study_names_none(
    fake_gpus: Callable[..., None],
) -> None:
    assert device_kind(None, 0) == "cpu core"
    assert device_kind(None, 1) == "A100-40GB"
    fake_gpus("NVIDIA H100 80GB HBM3")
    assert device_kind(None, 1) == "H100-80GB"
    assert device_kind("V100-16GB", 1) == "V100-16GB"
    fake_gpus("NVIDIA GeForce RTX 4090")
    assert figures_of(device_kind(None, 1)) == DEVICES["A100-40GB"]


def test_tests_run_as_if_the_machine_had_no_gpu() -> None:
    assert visible_gpus() == ()


@pytest.mark.gpu
def test_torch_sees_the_same_gpus() -> None:
    import torch

    found = visible_gpus()
    assert torch.cuda.device_count() == len(found)
    for n, gpu in enumerate(found):
        properties = torch.cuda.get_device_properties(n)
        assert gpu.name == properties.name
        assert gpu.memory_gb == pytest.approx(properties.total_memory / 1e9, rel=0.05)
