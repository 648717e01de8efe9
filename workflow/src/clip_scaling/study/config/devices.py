"""What the plan knows of machines: peaks, memory, links and power of a device (a GPU, or one CPU core)."""

from __future__ import annotations

from dataclasses import dataclass

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
"""Stands in for a GPU whose kind the study does not name."""


def device(kind: str | None, gpus: int) -> tuple[str, Device]:
    """The kind's name and figures; a CPU core where the cell has no GPU. KeyError for a kind that is not in DEVICES."""
    name = (kind or UNKNOWN_GPU) if gpus else CPU
    return name, DEVICES[name]
