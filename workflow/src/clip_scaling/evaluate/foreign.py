"""Checkpoints from elsewhere: an open_clip model with CLIP's tokenizer and its weights, and the released models."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.convert import convert_state_dict
from open_clip.model import convert_to_custom_text_state_dict
from open_clip.transform import merge_preprocess_dict
from torch import Tensor

from ..data.evaluation_sets.read import EvaluationSet, open_set
from ..errors import ConfigError, EvaluationError, close_matches
from ..models.compute import gmacs_per_sample
from ..models.encode import Encoder
from ..models.preprocess import Preprocess
from ..models.tokenizer import CLIP_ROWS
from ..records.files import sha256_file
from .naming import checkpoint_names, refuse_twice
from .released import parse_released
from .weights import read_weights

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


def foreign_models(model: str, weights: Sequence[Path], preprocess: dict[str, Any]) -> list[Foreign]:
    """Describe files of weights of one model, each under its own name. EvaluationError where one is given twice."""
    refuse_twice(weights)
    names = checkpoint_names(weights)
    return [replace(foreign_model(model, path, preprocess), cell=names[str(path)]) for path in weights]


def foreign_model(model: str, weights: Path, preprocess: dict[str, Any]) -> Foreign:
    """Describe a file of weights of a model that open_clip knows, or of a JSON file in its format.

    A JSON file may have `preprocess_cfg` beside its `model_cfg`, as open_clip_config.json has; `preprocess` overrides
    it.
    """
    cell = checkpoint_names([weights])[str(weights)]
    if model.endswith(".json"):
        name, own = add_config(Path(model))
        return Foreign(cell, name, weights, own | preprocess, {})
    return Foreign(cell, model, weights, preprocess, {})


def add_config(path: Path) -> tuple[str, dict[str, Any]]:
    """Make a model config known to open_clip, by its file's name or, as of `open_clip_config.json`, its folder's.

    Returns the name and the config's `preprocess_cfg`. EvaluationError where the file is no such config.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        why = (
            "a folder" if path.is_dir() else "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        )
        raise EvaluationError(
            f"{why}, where a model config is wanted", place=str(path), remedy="Name a JSON file in open_clip's format."
        ) from None
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"not JSON ({error})", place=str(path), remedy="Correct the file.") from None
    config = content.get("model_cfg", content) if isinstance(content, dict) else {}
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise EvaluationError("no open_clip model config (embed_dim, vision_cfg, text_cfg)", place=str(path))
    preprocess = content.get("preprocess_cfg", {})
    for name, part in (*((key, config[key]) for key in ("vision_cfg", "text_cfg")), ("preprocess_cfg", preprocess)):
        if not isinstance(part, dict):
            raise EvaluationError(f"{name} is no JSON object", place=str(path), remedy="Correct the file.")
    name = path.absolute().parent.name if path.stem == "open_clip_config" else path.stem
    open_clip.factory._MODEL_CONFIGS[name] = config
    return name, dict(preprocess)


def named_set(path: Path) -> EvaluationSet:
    """Open an evaluation set by its manifest. EvaluationError where the path is another file, or a folder."""
    if path.is_dir():
        manifest = path / "manifest.json"
        hint = f"Name its manifest: {manifest}." if manifest.is_file() else "It has no manifest.json."
        raise EvaluationError(
            "a folder, where the manifest of an evaluation set is wanted", place=str(path), remedy=hint
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise EvaluationError(
            f"no manifest of an evaluation set ({error.strerror})",
            place=str(path),
            remedy="They are results/data/eval-*/manifest.json of a study; `snakemake prepare_evaluation` makes them.",
        ) from None
    except (ValueError, RecursionError) as error:
        raise EvaluationError(f"no manifest of an evaluation set: not JSON ({error})", place=str(path)) from None
    if not isinstance(content, dict) or not {"dataset", "task"} <= content.keys():
        is_data = isinstance(content, dict) and {"pairs", "shards", "source", "tokenizer"} & content.keys()
        what = "the manifest of training data" if is_data else "another JSON file"
        raise EvaluationError(
            f"{what}, where that of an evaluation set is wanted", place=str(path),
            remedy="Name results/data/eval-*/manifest.json.",
        )  # fmt: skip
    return open_set(path)


def load_foreign(foreign: Foreign) -> tuple[Encoder, dict[str, Any]]:
    """Load the model, ready to encode. Returns it and fields of OutsideMetrics.

    Preprocessing is the model's own, open_clip's for its name, overridden by the fields given; the tokenizer is CLIP's.
    EvaluationError where a weight is missing, unexpected or of another shape, or where the tokenizer is another.
    """
    config = _config_of(foreign.model)
    text = config.get("text_cfg", {})
    _need_clips_tokenizer(foreign.model, text)
    logging.disable(logging.WARNING)  # open_clip warns that the weights are random: they are loaded next
    try:
        model: Any = open_clip.create_model(foreign.model, pretrained=None, pretrained_hf=False)
    except Exception as error:  # its constructors meet whatever an odd config leads them to
        raise EvaluationError(
            f"open_clip cannot build it ({type(error).__name__}: {error})", place=foreign.model,
            remedy="Correct its config.",
        ) from None  # fmt: skip
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


def _config_of(model: str) -> dict[str, Any]:
    """The config of a model that open_clip knows. EvaluationError where it knows none, or cannot fetch it."""
    try:
        config = open_clip.get_model_config(model)
    except (OSError, ValueError, RuntimeError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise EvaluationError(
            f"its config cannot be fetched ({first})", place=model,
            remedy="Download it where there is a network, and give its open_clip_config.json as --model.",
        ) from None  # fmt: skip
    if config is None:
        raise EvaluationError(
            f"{model!r} is not an open_clip model.{close_matches(model, open_clip.list_models())} "
            "A JSON file in open_clip's format serves too."
        )
    return dict(config)


def _need_clips_tokenizer(model: str, text: dict[str, Any], rows: int | None = None) -> None:
    """EvaluationError for a model of another tokenizer. rows: of its table of tokens, if not as in its config."""
    rows = rows or text.get("vocab_size", CLIP_ROWS)
    if text.get("hf_tokenizer_name") or "siglip" in model.lower():
        raise EvaluationError("its tokenizer is not CLIP's own; such models are not evaluated here", place=model)
    if rows != CLIP_ROWS:
        raise EvaluationError(
            f"its tokenizer is not CLIP's own: {rows} tokens, not {CLIP_ROWS}; such models are not evaluated here",
            place=model,
            remedy="Cells of this project have their own tokenizer: `scripts/evaluate.py` evaluates them, and "
            "`clip-scaling export` writes them for open_clip.",
        )


def load_weights(model: Any, path: Path) -> None:
    """Load a whole file of weights. EvaluationError names what is missing, unexpected or of another shape.

    open_clip's own loader resizes position embeddings without a word, so that another image size would pass.
    """
    state = read_weights(path, model.state_dict())
    for name in ("token_embedding.weight", "text.token_embedding.weight"):
        if name in state and state[name].ndim == 2:
            _need_clips_tokenizer(str(path), {}, state[name].shape[0])
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
