"""Kernels that give the same bits on a GPU: `recipe.deterministic`. A CPU needs none of it and is left as it is.

Each setting has a cause, measured on one H100 by runs of one cell that were undisturbed, killed or saved (docs/gpu.md):

- `cudnn.deterministic`: in fp32 six runs ended with six hashes. cuDNN's weight gradient of the patch embedding adds up
  in any order. `cudnn.benchmark` stays off: it chooses by time, so a continued run may choose otherwise.
- No fused attention of cuDNN's: at 257 tokens in bfloat16 three runs ended with three hashes. Its backward pass is
  not reached by `use_deterministic_algorithms`.
- No memory-efficient attention: at 257 tokens in fp32 two runs ended with two hashes. So fp16 and bfloat16 take the
  flash kernel, and fp32, which it does not know, takes torch's plain products ("math").
- `use_deterministic_algorithms`: the flash kernel, in `varlen_attn` too, adds up key and value gradients in a fixed
  order only under it; gradients of look-ups take sorted sums in place of atomic ones; compiled kernels are chosen by
  rules in place of timings: compiled, two runs ended with two hashes. Its filling of new memory is off: no kernel
  here reads what it has not written.
- `CUBLAS_WORKSPACE_CONFIG`: cuBLAS may use a workspace a stream, and batches are copied on a stream of their own. torch
  refuses products under `use_deterministic_algorithms` without it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..errors import TrainingError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_FIXED_WORKSPACES = (":4096:8", ":16:8")


def choose_kernels(device: torch.device, is_deterministic: bool) -> None:
    """Choose the kernels of this process, before its first product on the GPU; on a CPU nothing changes."""
    if device.type != "cuda":
        return
    if is_deterministic and os.environ.get(WORKSPACE) not in _FIXED_WORKSPACES:
        os.environ[WORKSPACE] = _FIXED_WORKSPACES[0]
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = is_deterministic, False
    torch.backends.cuda.enable_cudnn_sdp(not is_deterministic)
    torch.backends.cuda.enable_mem_efficient_sdp(not is_deterministic)
    torch.use_deterministic_algorithms(is_deterministic)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


@contextmanager
def refusals_named() -> Iterator[None]:
    """TrainingError where torch refuses an operation that has no deterministic kernel."""
    try:
        yield
    except RuntimeError as error:
        if "deterministic" not in str(error) or not torch.are_deterministic_algorithms_enabled():
            raise
        what = str(error).split(". ")[0].splitlines()[0]
        raise TrainingError(
            f"torch has no deterministic kernel for a part of this model: {what}",
            place="recipe.deterministic",
            remedy="Set it to false for this cell; a continued run may then differ in the last bits.",
        ) from error
