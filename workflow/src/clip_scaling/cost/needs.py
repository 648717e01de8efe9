"""What a training job takes of a machine: its memory, and its share of a GPU. Light: the Snakefile imports it."""

from __future__ import annotations

import math
from typing import Any

from ..models.compute import gmacs_per_sample
from ..models.roofline import EFFICIENCY, saved_by_compilation
from ..models.size import memory_gb, model_size
from ..study.config.devices import device_kind, figures_of
from ..study.config.resources import TrainResources
from ..study.config.training import Recipe

PROCESS_MB = 1000
"""Of a process with torch and open_clip, beside the run's own."""
WORKER_MB = 500
"""Of a process that decodes a stream."""
CUDA_MB = 4000
"""Of host memory, of a process that has a CUDA context: the libraries' kernels, and pinned batches."""
COMPILE_MB = 5000
"""Of torch.compile: with a context, 9.3 GB were used in all."""
LEAST_MB = 2000

HOST_SECONDS = 0.01
"""That a process takes to launch a step of a small model: what its kernels leave of it, others can use."""
MOST_CELLS = 4
"""That share a GPU unless a study asks for more: each needs a core to launch its steps."""
CONTEXT_GB = 1.0
"""Of a GPU's memory, of each process on it."""


def run_gb(model: dict[str, Any], recipe: Recipe, resources: TrainResources) -> float:
    """Estimate the memory of one rank's weights, optimizer, activations and features, GB."""
    local = math.ceil(recipe.global_batch_size / (resources.ranks * resources.accumulate))
    return memory_gb(
        model_size(model), local, recipe.global_batch_size, resources.ranks, resources.gradient_checkpointing,
        recipe.precision.startswith("amp"), resources.parallel == "fsdp2",
    )  # fmt: skip


def with_compilation(model: dict[str, Any], recipe: Recipe, resources: TrainResources, samples: int) -> TrainResources:
    """The resources with `compile: auto` decided, as the job will. samples: of the cell."""
    if resources.compile != "auto":
        return resources
    kind = device_kind(resources.gpu_kind, resources.gpus_per_node)
    pays = saved_by_compilation(model, recipe, resources, samples, kind) > 0
    return resources.model_copy(update={"compile": pays})


def job_mem_mb(model: dict[str, Any], recipe: Recipe, resources: TrainResources) -> int:
    """Host memory of a training job on one node, MB, in whole hundreds: as the study says, else by an estimate.

    On a GPU the run itself lies in the GPU's memory; the host then holds the state that is being saved.
    """
    if resources.mem_mb is not None:
        return resources.mem_mb
    is_gpu = resources.gpus_per_node > 0
    state = 16 * model_size(model).parameters / 1e6  # weights, gradients and AdamW's moments, fp32
    own = state + CUDA_MB if is_gpu else 1000 * run_gb(model, recipe, resources) + state
    workers = WORKER_MB * (resources.workers if resources.input == "stream" else 0)
    rank = PROCESS_MB + own + workers + (COMPILE_MB if resources.compile is True else 0)
    return max(LEAST_MB, 100 * math.ceil(resources.ranks_per_node * rank / 100))


def cells_per_gpu(model: dict[str, Any], recipe: Recipe, resources: TrainResources) -> int:
    """Cells like this one that train on one GPU at a time; 1 for a job of several GPUs, or of none.

    As the study says, else as many as leave the GPU's kernels no idle time and fit its memory.
    """
    if resources.gpus_per_node * resources.nodes != 1:
        return 1
    if resources.cells_per_gpu != "auto":
        return resources.cells_per_gpu
    figures = figures_of(device_kind(resources.gpu_kind, 1))
    products = 6e9 * gmacs_per_sample(model)["total"] * recipe.global_batch_size
    kernels = products / (EFFICIENCY * figures.peak_tflops * 1e12)
    needed = CONTEXT_GB + 1.3 * run_gb(model, recipe, resources)
    room = min(HOST_SECONDS / kernels, (figures.memory_gb or 0.0) / needed)
    return next((cells for cells in (4, 3, 2) if cells <= min(room, MOST_CELLS)), 1)
