"""Checkpoints from elsewhere: loaded whole or refused, preprocessed as they were trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch

from clip_scaling.errors import EvaluationError
from clip_scaling.evaluate.foreign import Foreign, foreign_model, load_foreign, released_models
from clip_scaling.evaluate.released import parse_released
from clip_scaling.models.preprocess import Preprocess

SMALL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
GREY = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "resize_mode": "squash"}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A small model as open_clip_config.json describes one, with preprocessing of its own."""
    path = tmp_path / "small-foreign.json"
    path.write_text(json.dumps({"model_cfg": SMALL, "preprocess_cfg": GREY}))
    return path


def save_weights(path: Path, **changes: Any) -> Path:
    torch.manual_seed(0)
    state = open_clip.model.CLIP(**SMALL).state_dict() | changes
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in state.items() if value is not None}, "epoch": 3},
        path,
    )
    return path


def test_a_checkpoint_of_open_clips_trainer_is_loaded_whole(config: Path, tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "epoch_3.pt")
    encoder, about = load_foreign(foreign_model(str(config), weights, {"std": [0.25, 0.25, 0.25]}))
    saved = torch.load(weights)["state_dict"]
    assert all(torch.equal(value, saved[f"module.{name}"]) for name, value in encoder.model.state_dict().items())
    assert not encoder.model.training
    # The model's own preprocessing, and what was asked for after it.
    assert encoder.preprocess == Preprocess(16, (0.5,) * 3, (0.25,) * 3, resize_mode="squash")
    assert (about["cell"], about["model"]) == ("epoch_3", "small-foreign")
    assert encoder.tokenizer(["a cat"]).shape == (1, 77)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"logit_scale": None}, "logit_scale is missing"),
        ({"extra": torch.zeros(1)}, "extra is unexpected"),
        # One more patch a side: open_clip itself would resize the position embedding without a word.
        ({"visual.positional_embedding": torch.zeros(10, 16)}, r"positional_embedding is \(10, 16\), the model's \(5"),
    ],
)
def test_weights_that_do_not_fit_are_named(config: Path, tmp_path: Path, changes: dict, said: str) -> None:
    weights = save_weights(tmp_path / "w.pt", **changes)
    with pytest.raises(EvaluationError, match=said):
        load_foreign(foreign_model(str(config), weights, {}))


def test_a_file_that_holds_no_weights_is_named(config: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}}, tmp_path / "empty.pt")
    (tmp_path / "text.pt").write_text("no weights")
    for name, said in (("empty.pt", "not a file of weights"), ("text.pt", "not a file"), ("none.pt", "no such file")):
        with pytest.raises(EvaluationError, match=said):
            load_foreign(foreign_model(str(config), tmp_path / name, {}))


def test_an_unknown_model_or_field_is_refused(config: Path, tmp_path: Path) -> None:
    weights = save_weights(tmp_path / "w.pt")
    with pytest.raises(EvaluationError, match="Close matches: ViT-B-32"):
        load_foreign(Foreign("x", "ViT-B32", weights, {}, {}))
    with pytest.raises(EvaluationError, match="crop is no field"):
        load_foreign(foreign_model(str(config), weights, {"crop": 0.9}))
    with pytest.raises(EvaluationError, match="tokenizer is not CLIP's own"):
        load_foreign(Foreign("x", "ViT-B-16-SigLIP", weights, {}, {}))


def test_released_models_are_known_by_their_names(tmp_path: Path) -> None:
    run = parse_released("Model-B-32_Data-400M_Samples-13B_lr-1e-3_bs-86k.pt")
    assert (run.model, run.data, run.samples_seen) == ("ViT-B-32", "LAION-400M", 13_000_000_000)
    assert (run.learning_rate, run.global_batch_size, run.preprocess) == (1e-3, 86_000, {})
    (tmp_path / "Model-L-14_Data-2B_Samples-34B_lr-1e-3_bs-86k.pt").touch()
    (tmp_path / "notes.txt").touch()
    [found] = released_models(tmp_path)
    assert (found.model, found.preprocess["mean"]) == ("ViT-L-14", (0.5, 0.5, 0.5))
    assert open_clip.pretrained.get_pretrained_cfg("ViT-L-14", "laion2b_s32b_b82k")["mean"] == (0.5, 0.5, 0.5)
    with pytest.raises(EvaluationError, match="no Model-"):
        released_models(tmp_path / "none")
    with pytest.raises(EvaluationError, match="is no name of a released model"):
        parse_released("Model-B-32_Data-400M.pt")


def test_every_released_model_of_the_paper_is_known(published: Path) -> None:
    import pandas as pd

    table = pd.read_csv(published / "zeroshot_results.csv")
    names = set(table["name"]) - {"openai"}
    assert len(names) == 29
    architectures = dict(zip(table["name"], table["arch"], strict=True))
    assert all(parse_released(name).model == architectures[name] for name in names)
