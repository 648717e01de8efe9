"""The GPUs of this machine and those that this process may use, without torch and without a CUDA context."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

VISIBLE = "CUDA_VISIBLE_DEVICES"
NVML = "libnvidia-ml.so.1"
NVML_TEXT = 96
"""Bytes of a name or a UUID, its end included."""
AMD_NODES = Path("/sys/class/kfd/kfd/topology/nodes")


@dataclass(frozen=True)
class Gpu:
    """token: as CUDA_VISIBLE_DEVICES takes it. uuid: the same under all tokens; the token where it is not known."""

    token: str
    uuid: str
    name: str = ""
    memory_gb: float = 0.0


class _Memory(ctypes.Structure):
    _fields_ = [("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong)]


@cache
def installed_gpus() -> tuple[Gpu, ...]:
    """All GPUs that torch here could use, in the order of their slots; none with a torch that is built for CPUs."""
    return (_nvidia_gpus() or _amd_gpus()) if _torch_takes_gpus() else ()


def visible_gpus(environment: Mapping[str, str] | None = None) -> tuple[Gpu, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES leaves of them, in its order; without it, those of the Slurm job.

    environment: default os.environ.
    """
    variables = os.environ if environment is None else environment
    if VISIBLE in variables or "SLURM_JOB_ID" not in variables:
        return chosen_gpus(installed_gpus(), variables.get(VISIBLE))
    given = variables.get("SLURM_STEP_GPUS", variables.get("SLURM_JOB_GPUS"))
    # Where Slurm hides the others from a job, its numbers are those of the node and name nothing.
    return chosen_gpus(installed_gpus(), given) or installed_gpus()


def chosen_gpus(installed: Iterable[Gpu], choice: str | None) -> tuple[Gpu, ...]:
    """The GPUs that a value of CUDA_VISIBLE_DEVICES leaves: indices, or beginnings of UUIDs.

    As CUDA does, what follows a token that names nothing is left out. A part of a card (MIG-...) is taken as it is.
    """
    known = tuple(installed)
    if choice is None or not known:
        return known
    found: list[Gpu] = []
    for token in filter(None, (text.strip() for text in choice.split(","))):
        if token.startswith("MIG-"):
            found.append(Gpu(token, token))
            continue
        is_index = token.isdecimal()
        matches = [gpu for n, gpu in enumerate(known) if (n == int(token) if is_index else gpu.uuid.startswith(token))]
        if len(matches) != 1:
            break
        found.append(Gpu(token, matches[0].uuid, matches[0].name, matches[0].memory_gb))
    return tuple(found)


def _torch_takes_gpus() -> bool:
    """Whether the installed torch is built for GPUs, by its version file: an import would take seconds.

    True without torch: the light environment plans for others.
    """
    found = importlib.util.find_spec("torch")
    if found is None or not found.submodule_search_locations:
        return True
    file = Path(found.submodule_search_locations[0]) / "version.py"
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return re.search(r"^(cuda|hip)\b[^=\n]*= *['\"]", text, re.MULTILINE) is not None


def _nvidia_gpus() -> tuple[Gpu, ...]:
    """NVIDIA's GPUs by its management library; none where there is no driver."""
    try:
        nvml = ctypes.CDLL(NVML)
    except OSError:
        return ()
    if nvml.nvmlInit_v2():
        return ()
    try:
        count = ctypes.c_uint()
        if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)):
            return ()
        return tuple(_nvidia_gpu(nvml, index) for index in range(count.value))
    finally:
        nvml.nvmlShutdown()


def _nvidia_gpu(nvml: ctypes.CDLL, index: int) -> Gpu:
    """One GPU; what cannot be asked is left empty."""
    handle, memory = ctypes.c_void_p(), _Memory()
    name, uuid = ctypes.create_string_buffer(NVML_TEXT), ctypes.create_string_buffer(NVML_TEXT)
    if nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle)):
        return Gpu(str(index), str(index))
    nvml.nvmlDeviceGetName(handle, name, ctypes.c_uint(NVML_TEXT))
    nvml.nvmlDeviceGetUUID(handle, uuid, ctypes.c_uint(NVML_TEXT))
    nvml.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
    return Gpu(str(index), uuid.value.decode() or str(index), name.value.decode(), memory.total / 1e9)


def _amd_gpus(nodes: Path = AMD_NODES) -> tuple[Gpu, ...]:
    """AMD's GPUs by the kernel's list of compute nodes; CPUs stand in it too, without vector units."""
    count = 0
    for file in sorted(nodes.glob("*/properties")):
        found = re.search(r"^simd_count (\d+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        count += bool(found and int(found[1]))
    return tuple(Gpu(str(n), str(n)) for n in range(count))
