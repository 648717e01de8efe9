"""Files of weights as people have them: what wraps the state of a model is taken off, or named."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import open_clip
from torch import Tensor

from ..errors import EvaluationError

WRAPPED = ("state_dict", "model", "model_state_dict", "module", "net", "weights")
"""Keys under which trainers keep a model's state."""
INSIDE = "_orig_mod."
"""Put by torch.compile into the names of what it compiled."""


def read_weights(path: Path, own: Iterable[str]) -> dict[str, Tensor]:
    """Read the state of a model whose parameters have these names, without what a trainer wrapped it in.

    EvaluationError where the file is none of weights.
    """
    if path.is_dir():
        files = [file.name for kind in ("*.safetensors", "*.bin", "*.pt", "*.pth") for file in sorted(path.glob(kind))]
        hint = f"It has {', '.join(files[:5])}." if files else "It has none."
        raise EvaluationError("a folder, not a file of weights", place=str(path), remedy=f"Name the file in it. {hint}")
    try:
        state: Any = open_clip.factory.load_state_dict(str(path), weights_only=True)
    except FileNotFoundError:
        raise EvaluationError("no such file of weights", place=str(path)) from None
    except (
        RuntimeError, ValueError, EOFError, KeyError, TypeError, StopIteration, AttributeError, IndexError, OSError,
        pickle.UnpicklingError,
    ) as error:  # fmt: skip
        raise EvaluationError(f"not a file of weights ({error})", place=str(path)) from None
    except Exception as error:  # safetensors has a class of its own, which nothing else derives from
        if type(error).__module__.partition(".")[0] not in ("safetensors", "safetensors_rust", "builtins"):
            raise
        raise EvaluationError(f"not a file of weights ({error})", place=str(path)) from None
    return without_prefix(_unwrapped(state, path), own)


def _unwrapped(state: Any, path: Path) -> dict[str, Tensor]:
    """The state itself, of a dictionary that has it under one of WRAPPED."""
    while isinstance(state, dict) and not any(isinstance(value, Tensor) for value in state.values()):
        inner = next((state[key] for key in WRAPPED if isinstance(state.get(key), dict)), None)
        if inner is None:
            raise EvaluationError(
                f"no weights under {', '.join(WRAPPED)}: it has {', '.join(map(str, list(state)[:8])) or 'nothing'}",
                place=str(path),
                remedy="Save the model's state_dict alone.",
            )
        state = inner
    if not isinstance(state, dict):
        raise EvaluationError(
            f"holds a {type(state).__name__}, not weights by name", place=str(path), remedy="Save its state_dict()."
        )
    return {str(name): value for name, value in state.items() if isinstance(value, Tensor)}


def without_prefix(state: dict[str, Tensor], own: Iterable[str]) -> dict[str, Tensor]:
    """The state under the model's own names (such as `model.logit_scale` under `logit_scale`), where one prefix is
    before all of them. Otherwise as it is, without torch.compile's mark."""
    state = {name.replace(INSIDE, ""): value for name, value in state.items()}
    names = list(own)
    for name in names[:1]:
        for found in sorted((key for key in state if key.endswith(name)), key=len):
            prefix = found.removesuffix(name)
            if all(prefix + other in state for other in names) and all(key.startswith(prefix) for key in state):
                return {key.removeprefix(prefix): value for key, value in state.items()}
    return state
