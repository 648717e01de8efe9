"""Device-seconds of training by a roofline: what a sample takes of a kind of device, and whether compilation pays.

The figures of a GPU follow from samples/s on one H100 in bfloat16 (docs/gpu.md): they give 2,455 and 4,111 for ViT-B-32
at batches of 256 and 1024 (measured: 2,129 and 3,269), 1,418 for ViT-B-16 (1,463), 431 for ViT-L-14 (502).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..study.config.devices import CPU, figures_of
from ..study.config.resources import TrainResources
from ..study.config.training import Recipe
from .compute import gmacs_per_sample
from .size import ModelSize, model_size

EFFICIENCY = 0.35
"""Share of the peak that the matrix products of a plain transformer reach on a CPU; of all kernels on a GPU."""
GPU_EFFICIENCY = 0.6
"""The same of the products alone on a GPU."""
GPU_PASSES = 4
"""Times that a GPU moves a step's activations more often than a CPU: norms, casts and sums are kernels of their own."""
STEP_SECONDS, LAYER_SECONDS = 0.02, 0.0015
"""Of a step on a GPU whatever its batch, and for each layer of both towers: the host launches kernels."""
PRECISION_SECONDS = {"amp": 1.0, "amp_bf16": 1.0, "tf32": 2129 / 1818, "fp32": 2129 / 754}
"""Of a step on a GPU in a precision, against bfloat16: ViT-B-32 at batch 256 on one H100."""
COMPILED_SPEED = 6180 / 4250
"""Of compiled steps against others, on a GPU: a bare loop of ViT-B-32 at batch 1024 on one H100."""
COMPILE_SECONDS, COMPILE_LAYER_SECONDS = 41.0, 0.55
"""Before the first compiled step, and for each layer: 42 s for a small cell, 54 s for ViT-B-32, there too."""


@dataclass(frozen=True)
class Work:
    """What the cost of a sample follows from. gmacs: forward, of both towers. layers: of both towers."""

    size: ModelSize
    gmacs: float
    layers: int

    @classmethod
    def of(cls, model: dict[str, Any]) -> Work:
        """The work of an open_clip config."""
        layers = model["vision_cfg"].get("layers", 12) + model["text_cfg"].get("layers", 12)
        return cls(model_size(model), gmacs_per_sample(model)["total"], layers)


@dataclass(frozen=True)
class Manner:
    """How a step is made. local_batch: samples a device; is_half: activations of 16 bits on a CPU."""

    local_batch: float
    precision: str = "amp_bf16"
    is_recomputed: bool = False
    is_half: bool = True


def sample_seconds(work: Work, kind: str, how: Manner) -> float:
    """Device-seconds a sample, without what devices exchange."""
    figures, is_gpu = figures_of(kind), kind != CPU
    passes = 4 if how.is_recomputed else 3  # forward, twice that backward, and forward again
    share = GPU_EFFICIENCY if is_gpu else EFFICIENCY
    products = passes * 2e9 * work.gmacs / (share * figures.peak_tflops * 1e12)
    stored = work.size.activation_bytes(is_recomputed=False, is_half=is_gpu or how.is_half)
    seconds = products + (GPU_PASSES if is_gpu else 1) * passes * stored / (figures.memory_gb_s * 1e9)
    if not is_gpu:
        return seconds
    launches = STEP_SECONDS + LAYER_SECONDS * work.layers
    return PRECISION_SECONDS[how.precision] * (seconds + launches / how.local_batch)


def saved_by_compilation(
    model: dict[str, Any], recipe: Recipe, resources: TrainResources, samples: int, kind: str
) -> float:
    """Seconds that compiled steps save of a run, less what compilation takes before the first; 0 on a CPU.

    samples: of the whole cell. kind: of device. It follows from the study and the kind alone: a continued run decides
    as the first did.
    """
    if kind == CPU:
        return 0.0
    work, ranks = Work.of(model), resources.ranks
    how = Manner(recipe.global_batch_size / ranks, recipe.precision, resources.gradient_checkpointing)
    steps = samples / ranks * sample_seconds(work, kind, how)
    return steps * (1 - 1 / COMPILED_SPEED) - COMPILE_SECONDS - COMPILE_LAYER_SECONDS * work.layers
