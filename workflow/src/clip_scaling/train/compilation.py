"""Whether a run is compiled, and where compiled kernels are kept."""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from ..machine.private import make_private
from ..models.roofline import saved_by_compilation
from ..study.config.devices import kind_of
from ..study.config.resources import TrainResources
from ..study.config.training import Recipe
from .distributed import Ranks, gpu_name

log = logging.getLogger(__name__)
CACHE = "TORCHINDUCTOR_CACHE_DIR"


def decide(
    resources: TrainResources, ranks: Ranks, model: dict[str, Any], recipe: Recipe, samples: int
) -> TrainResources:
    """The resources of a job with `compile` decided."""
    if resources.compile != "auto":
        return resources
    is_compiled = ranks.device.type == "cuda" and can_compile()
    if is_compiled:
        kind = kind_of(*gpu_name(ranks.device), resources.gpu_kind)
        is_compiled = saved_by_compilation(model, recipe, resources, samples, kind) > 0
    return resources.model_copy(update={"compile": is_compiled})


def can_compile() -> bool:
    """Whether kernels of a GPU can be compiled on this machine: triton calls a C compiler."""
    from torch.utils._triton import has_triton_package

    return has_triton_package() and any(shutil.which(os.environ.get("CC", name)) for name in ("cc", "gcc", "clang"))


def keep_kernels(folder: Path) -> None:
    """Keep compiled kernels in a folder of the study, for its other cells, unless the user names another place.

    Code is loaded from there, so it must be the user's own; else they are kept where torch does.
    """
    if CACHE in os.environ:
        return
    try:
        os.environ[CACHE] = str(make_private(folder).resolve())
    except OSError as error:
        log.warning(f"{folder}: compiled kernels are not kept there: {error.strerror}")


def forget_kernels() -> None:
    """Let the next model be made without what was compiled."""
    torch._dynamo.reset()
