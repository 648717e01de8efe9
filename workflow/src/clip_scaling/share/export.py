"""A trained cell as a folder that `open_clip.create_model_and_transforms("local-dir:...")` loads; it needs torch."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..models import fast_import as plain_towers  # noqa: F401, before all that imports open_clip

# isort: split
from safetensors.torch import save_file

from ..errors import EvaluationError
from ..models.checkpoint import load_checkpoint
from ..models.preprocess import Preprocess
from ..records.files import atomic_path, describe_file, sha256_file, write_json, write_text
from .hub_tokenizer import is_open_clips_own, write_tokenizer

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"


def write_model(checkpoint: Path, merges: Path, folder: Path, repository: str = "") -> dict[str, Any]:
    """Write config, weights and tokenizer of a checkpoint; returns open_clip_config.json.

    merges: merges.txt.gz that the checkpoint was trained with. repository: OWNER/NAME on the hub, where `hf-hub:` is to
    find the tokenizer. EvaluationError where the run diverged or the tokenizer is another one.
    """
    model, about = load_checkpoint(checkpoint)
    if about.get("state") == "diverged":
        raise EvaluationError(
            f"{about['cell']} diverged in training: there is no model to export. Choose another cell."
        )
    if sha256_file(merges) != about["tokenizer_sha256"]:
        raise EvaluationError(f"{checkpoint}: trained with another tokenizer than {merges}. Train the cell again.")
    folder.mkdir(parents=True, exist_ok=True)
    config, text = dict(about["model_config"]), dict(about["model_config"]["text_cfg"])
    if "multimodal_cfg" in config:
        config["custom_text"] = True  # open_clip's factory would build a CLIP without it
    if not is_open_clips_own(merges):
        text["hf_tokenizer_name"] = repository or about["cell"]
        text["tokenizer_kwargs"] = write_tokenizer(folder, merges, text.get("context_length", 77))
        shutil.copyfile(merges, folder / "merges.txt.gz")
    preprocess = Preprocess(config["vision_cfg"].get("image_size", 224)).fields()
    whole = {"model_cfg": config | {"text_cfg": text}, "preprocess_cfg": {"mode": "RGB", **preprocess}}
    # A copy of each: safetensors refuses tensors that share their memory.
    weights = {name: tensor.clone().contiguous() for name, tensor in model.state_dict().items()}
    with atomic_path(folder / WEIGHTS) as temporary:
        save_file(weights, temporary, {"format": "pt"})
        temporary.chmod(0o644)  # it is written for its owner alone
    write_json(folder / CONFIG, whole)
    return whole


def write_papers(folder: Path, card: str, attributions: Mapping[str, Path], about: dict[str, Any]) -> None:
    """Write model card, attribution of the data and provenance.json, which lists the folder's other files.

    attributions: file to copy by its name here.
    """
    write_text(folder / "README.md", card)
    for name, path in attributions.items():
        shutil.copyfile(path, folder / name)
    files = [describe_file(path, folder) for path in sorted(folder.iterdir()) if path.name != "provenance.json"]
    write_json(folder / "provenance.json", about | {"files": files})
