"""Checkpoints from elsewhere: any open_clip model with a file of weights, and the released models by their names."""

from __future__ import annotations

import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transform import merge_preprocess_dict
from torch import Tensor

from ..errors import ConfigError, EvaluationError, close_matches
from ..models.compute import gmacs_per_sample
from ..models.encode import Encoder
from ..models.preprocess import Preprocess
from ..records.files import read_json, sha256_file
from .released import parse_released

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Foreign:
    """One checkpoint. preprocess: fields that are not the defaults of open_clip's `preprocess_cfg`."""

    cell: str
    model: str
    weights: Path
    preprocess: dict[str, Any]
    about: dict[str, Any]


def released_models(folder: Path) -> list[Foreign]:
    """Find the released models in a folder, by name. EvaluationError where there is none."""
    found = []
    for path in sorted(folder.glob("Model-*.pt")):
        run = parse_released(path.name)
        about = {key: getattr(run, key) for key in ("data", "samples_seen", "learning_rate", "global_batch_size")}
        found.append(Foreign(path.stem, run.model, path, run.preprocess, about))
    if not found:
        raise EvaluationError(
            "no Model-*_Data-*_Samples-*_lr-*_bs-*.pt in it", place=str(folder), remedy="Name the folder that has them."
        )
    return found


def foreign_model(model: str, weights: Path, preprocess: dict[str, Any]) -> Foreign:
    """Describe a file of weights of a model that open_clip knows, or of a JSON file in its format.

    A JSON file may have `preprocess_cfg` beside its `model_cfg`, as open_clip_config.json has; `preprocess` overrides
    it.
    """
    if model.endswith(".json"):
        path = Path(model)
        own = add_config(path)
        return Foreign(weights.stem, path.stem, weights, own | preprocess, {})
    return Foreign(weights.stem, model, weights, preprocess, {})


def add_config(path: Path) -> dict[str, Any]:
    """Make a model config known to open_clip by its file's name. Returns its `preprocess_cfg`."""
    content = read_json(path)
    config = content.get("model_cfg", content)
    if not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise EvaluationError("no open_clip model config (embed_dim, vision_cfg, text_cfg)", place=str(path))
    open_clip.factory._MODEL_CONFIGS[path.stem] = config
    return dict(content.get("preprocess_cfg", {}))


def load_foreign(foreign: Foreign) -> tuple[Encoder, dict[str, Any]]:
    """Load the model, ready to encode. Returns it and fields of OutsideMetrics.

    Preprocessing is the model's own, open_clip's for its name, overridden by the fields given; the tokenizer is CLIP's.
    EvaluationError where a weight is missing, unexpected or of another shape, or where the tokenizer is another.
    """
    config = open_clip.get_model_config(foreign.model)
    if config is None:
        raise EvaluationError(
            f"{foreign.model!r} is not an open_clip model.{close_matches(foreign.model, open_clip.list_models())} "
            "A JSON file in open_clip's format serves too."
        )
    text = config.get("text_cfg", {})
    if text.get("hf_tokenizer_name") or "siglip" in foreign.model.lower():
        raise EvaluationError(
            "its tokenizer is not CLIP's own; such models are not evaluated here", place=foreign.model
        )
    logging.disable(logging.WARNING)  # open_clip warns that the weights are random: they are loaded next
    try:
        model: Any = open_clip.create_model(foreign.model, pretrained=None, pretrained_hf=False)
    finally:
        logging.disable(logging.NOTSET)
    load_weights(model, foreign.weights)
    own = merge_preprocess_dict(open_clip.get_model_preprocess_cfg(model), foreign.preprocess)
    unknown = sorted(foreign.preprocess.keys() - own.keys())
    if unknown:
        raise EvaluationError(f"{', '.join(unknown)} is no field of open_clip's preprocess_cfg", place="preprocess")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    preprocess = Preprocess.of(own)
    identity = {
        "checkpoint_sha256": sha256_file(foreign.weights),
        "model_config": config,
        "tokenizer": ["open_clip", text.get("context_length", 77), text.get("tokenizer_kwargs", {})],
        "precision": "fp32",
    }
    encoder = Encoder(model.eval().to(device), open_clip.get_tokenizer(foreign.model), preprocess, device, identity)
    about = {
        "cell": foreign.cell,
        "model": foreign.model,
        "checkpoint_sha256": identity["checkpoint_sha256"],
        "preprocess": preprocess.fields(),
        "gmacs_per_sample": _gmacs(config),
    }
    return encoder, about | foreign.about


def load_weights(model: Any, path: Path) -> None:
    """Load a whole file of weights. EvaluationError names what is missing, unexpected or of another shape.

    open_clip's own loader resizes position embeddings without a word, so that another image size would pass.
    """
    try:
        state = open_clip.factory.load_state_dict(str(path), weights_only=True)
    except FileNotFoundError:
        raise EvaluationError("no such file of weights", place=str(path)) from None
    except (
        RuntimeError, ValueError, EOFError, KeyError, TypeError, StopIteration, AttributeError, pickle.UnpicklingError,
    ) as error:  # fmt: skip
        raise EvaluationError(f"not a file of weights ({error})", place=str(path)) from None
    state = convert_state_dict(model, state)
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = convert_to_custom_text_state_dict(state)
    own: dict[str, Tensor] = model.state_dict()
    for name in ("logit_scale", "logit_bias"):  # a number, or a vector of one
        if name in state and name in own and state[name].numel() == own[name].numel() == 1:
            state[name] = state[name].reshape(own[name].shape)
    problems = [
        *(f"{name} is missing" for name in own.keys() - state.keys()),
        *(f"{name} is unexpected" for name in state.keys() - own.keys()),
        *(
            f"{name} is {tuple(state[name].shape)}, the model's {tuple(own[name].shape)}"
            for name in own.keys() & state.keys()
            if state[name].shape != own[name].shape
        ),
    ]
    if problems:
        shown = "; ".join(sorted(problems)[:5]) + (f"; and {len(problems) - 5} more" if len(problems) > 5 else "")
        raise EvaluationError(
            f"weights do not fit the model: {shown}", place=str(path), remedy="Name the model that was trained."
        )
    model.load_state_dict(state, strict=True)


def _gmacs(config: dict[str, Any]) -> float | None:
    """Forward GMACs a sample; None where the tower's count is not known."""
    try:
        return gmacs_per_sample(config)["total"]
    except ConfigError as error:
        log.info(str(error))
        return None
