"""What the plan knows of machines: peaks, memory, links and power of a device (a GPU, or one CPU core)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...machine.gpus import visible_gpus

CPU = "cpu core"


@dataclass(frozen=True)
class Device:
    """peak_tflops: dense matrix products in the precision of training; link_gb_s: to other nodes, its own share.

    memory_gb: None where the node's memory counts instead. watts: of the device at its limit.
    """

    peak_tflops: float
    memory_gb: float | None
    memory_gb_s: float
    link_gb_s: float
    watts: float


DEVICES = {
    # Vendors' data sheets: dense bfloat16, memory bandwidth, power limit. Links: one adapter of the usual node a GPU.
    "V100-16GB": Device(125, 16, 900, 12.5, 300),
    "V100-32GB": Device(125, 32, 900, 12.5, 300),
    "A100-40GB": Device(312, 40, 1555, 25, 400),
    "A100-80GB": Device(312, 80, 2039, 25, 400),
    "H100-80GB": Device(989, 80, 3350, 50, 700),
    "GH200-96GB": Device(989, 96, 4000, 25, 700),
    "H200-141GB": Device(989, 141, 4800, 50, 700),
    "B200-180GB": Device(2250, 180, 8000, 50, 1000),
    "MI250X-GCD-64GB": Device(191, 64, 1638, 25, 280),
    # One core of a server, fp32 with wide vectors, its share of the memory channels.
    CPU: Device(0.06, None, 8, 1, 10),
}
UNKNOWN_GPU = "A100-40GB"
"""Its figures stand in for a GPU that is not in DEVICES, or that nobody names."""


def kind_of(name: str, memory_gb: float = 0.0, named: str | None = None) -> str:
    """The key of DEVICES for a GPU by its name, as its driver spells it; else the name itself.

    memory_gb: of kinds that differ in it the nearest is chosen; 0: as the name says. named: the kind that the study
    names, which is taken where it is of this name.
    """
    kinds = [kind for kind in DEVICES if kind != CPU and re.search(rf"\b{kind.split('-')[0]}\b", name)]
    if named in kinds:
        return named
    said = re.search(r"(\d+) ?GB", name)
    memory = memory_gb or (float(said[1]) if said else 0.0)
    return min(kinds, key=lambda kind: abs((DEVICES[kind].memory_gb or 0.0) - memory)) if kinds else name


def kind_here() -> str | None:
    """The kind of the first GPU that this process may use; None without one, or where its name is not known."""
    return next((kind_of(gpu.name, gpu.memory_gb) for gpu in visible_gpus() if gpu.name), None)


def device_kind(named: str | None, gpus: int) -> str:
    """The kind of a cell's devices: as the study names it, else this machine's; a CPU core without GPUs."""
    return (named or kind_here() or UNKNOWN_GPU) if gpus else CPU


def figures_of(kind: str) -> Device:
    """The figures of a kind; for a GPU that is not known those of UNKNOWN_GPU."""
    return DEVICES.get(kind, DEVICES[UNKNOWN_GPU])
