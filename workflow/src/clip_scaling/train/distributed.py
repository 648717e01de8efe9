"""The ranks of a training job: their places, and the values that they share."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.distributed as dist

from ..errors import TrainingError

MEETING = datetime.timedelta(minutes=30)
"""That ranks wait for each other at the start."""
WAITING = datetime.timedelta(hours=12)
"""That ranks wait for each other later: one may write a state. A hang is found before (watchdog.py)."""
SECONDS_TO_LEAVE = 10.0
"""That a rank which fails takes at most to leave the process group."""


@dataclass(frozen=True)
class Ranks:
    """This process's place among the ranks of its job."""

    rank: int
    size: int
    local_rank: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """True on the rank that writes files."""
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value summed over all ranks, in float64."""
        if self.size == 1:
            return [float(value) for value in values]
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return tensor.tolist()

    def sum_in_place(self, values: torch.Tensor) -> None:
        """Sum a tensor on the device over all ranks, without waiting for it. The sums are those of `sum`."""
        if self.size > 1:
            dist.all_reduce(values)

    def sum_exact(self, value: int) -> int:
        """A signed 64-bit integer summed over all ranks, modulo 2^64."""
        if self.size == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.int64, device=self.device)
        dist.all_reduce(tensor)
        return int(tensor.item())

    def tell(self, value: Any) -> Any:
        """The main rank's value, on every rank."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """Every rank's value, in order, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def meet(self) -> None:
        """Wait until every rank has come here."""
        if self.size > 1:
            dist.barrier(device_ids=[self.device.index] if self.device.type == "cuda" else None)

    def has_lost_another(self, error: BaseException | None) -> bool:
        """Whether an error is gloo's for a rank that has ended."""
        text = str(error)
        return self.size > 1 and isinstance(error, RuntimeError) and "gloo" in text and "by peer" in text

    def close(self, *, is_failing: bool = False) -> None:
        """Leave the process group. is_failing: others may wait for this rank; it does not wait for them."""
        if self.size == 1 or not dist.is_initialized():
            return
        if not is_failing:
            dist.destroy_process_group()
            return
        has_nccl = self.device.type == "cuda"
        leave = dist.distributed_c10d._abort_process_group if has_nccl else dist.destroy_process_group
        leaving = threading.Thread(target=leave, name="leaving", daemon=True)
        leaving.start()
        leaving.join(SECONDS_TO_LEAVE)


def gpu_count() -> int:
    """The GPUs that this process can use. No CUDA context is made."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_name(device: torch.device) -> tuple[str, float]:
    """(name, memory in GB) of a GPU."""
    properties = torch.cuda.get_device_properties(device)
    return properties.name, properties.total_memory / 1e9


def choose_device(gpus: int | Literal["auto"], variables: Mapping[str, str]) -> torch.device:
    """The device of this rank, as `resources.train.gpus` asks.

    TrainingError where more ranks than GPUs are on this node, on its first rank; the others leave with exit code 1, so
    that the log has the error once.
    """
    _, size, local_rank = _place(variables)
    count = gpu_count() if gpus else 0
    here = int(variables.get("LOCAL_WORLD_SIZE", size if gpus == "auto" or size == 1 else gpus))
    # srun may show every rank its own GPU only.
    is_own = count == 1 and size > 1 and variables.get("SLURM_STEP_NUM_TASKS") == str(size)
    if gpus and (here <= count or is_own):
        return torch.device("cuda", 0 if is_own else local_rank)
    if gpus in (0, "auto"):
        return torch.device("cpu")
    if local_rank:
        sys.exit(1)
    raise TrainingError(
        f"{here} ranks on one machine need a GPU each (resources.train.gpus: {gpus}), and torch sees {count}.",
        remedy="Lower gpus, or set it to auto: one GPU where there is one, else the CPU."
        + ("" if count else " `nvidia-smi` shows whether there is a driver."),
    )


def join_ranks(gpus: int | Literal["auto"] = 0, environment: dict[str, str] | None = None) -> Ranks:
    """Join the job's process group: NCCL on GPUs, gloo on CPUs; nothing to join for a single process.

    gpus: of a node, as `resources.train.gpus`. environment: default os.environ. torchrun's variables (RANK, WORLD_SIZE,
    LOCAL_RANK, MASTER_ADDR, MASTER_PORT), which the project's launcher and submitit's `export` set too, or those of a
    Slurm step that srun started.
    """
    variables = dict(os.environ) if environment is None else environment
    rank, size, local_rank = _place(variables)
    device = choose_device(gpus, variables)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    if size > 1:
        for name, value in _meeting_place(variables).items():
            os.environ[name] = value
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            rank=rank,
            world_size=size,
            timeout=MEETING,
            device_id=device if device.type == "cuda" else None,
        )
        dist.distributed_c10d.set_timeout(WAITING)
    return Ranks(rank, size, local_rank, device)


def _place(variables: Mapping[str, str]) -> tuple[int, int, int]:
    """(rank, world size, local rank)."""
    if "WORLD_SIZE" in variables:
        return int(variables["RANK"]), int(variables["WORLD_SIZE"]), int(variables.get("LOCAL_RANK", 0))
    if int(variables.get("SLURM_STEP_NUM_TASKS", 1)) > 1:
        return (
            int(variables["SLURM_PROCID"]),
            int(variables["SLURM_STEP_NUM_TASKS"]),
            int(variables["SLURM_LOCALID"]),
        )
    return 0, 1, 0


def _meeting_place(variables: dict[str, str]) -> dict[str, str]:
    """MASTER_ADDR and MASTER_PORT: as given, or the first node of the Slurm step and a port from its job id."""
    if "MASTER_ADDR" in variables:
        return {"MASTER_ADDR": variables["MASTER_ADDR"], "MASTER_PORT": variables.get("MASTER_PORT", "29500")}
    nodes = subprocess.run(
        ["scontrol", "show", "hostnames", variables["SLURM_STEP_NODELIST"]], capture_output=True, text=True, check=True
    )
    port = 20000 + int(variables["SLURM_JOB_ID"]) % 20000
    return {"MASTER_ADDR": nodes.stdout.split()[0], "MASTER_PORT": str(port)}
