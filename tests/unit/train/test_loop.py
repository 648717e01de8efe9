"""The loop learns, is deterministic, and does what open_clip does."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clip_scaling.config import Recipe
from clip_scaling.data.packed import PackedPairs
from clip_scaling.errors import EvaluationError, TrainingError
from clip_scaling.train.loop import Trained, parameter_groups, train
from clip_scaling.train.model import build_model, load_checkpoint, normalise, save_checkpoint, weights_sha256

MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 4, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture
def pairs() -> PackedPairs:
    """32 images of plain, different brightness, each with a caption of its own."""
    pixels = np.repeat(np.arange(32, dtype=np.uint8) * 8, 16 * 16 * 3).reshape(32, 16, 16, 3)
    tokens = np.full((32, 4), 0, dtype=np.int32)
    tokens[:, 0], tokens[:, 1], tokens[:, 2] = 29, np.arange(32) % 29, 31
    return PackedPairs(pixels, tokens, {})


def run(pairs: PackedPairs, seed: int = 0, samples: int = 320, **recipe: Any) -> Trained:
    fields = Recipe(global_batch_size=16, learning_rate=3e-3, warmup_steps=2, warmup_fraction=None, **recipe)
    return train(MODEL, fields, pairs, samples, seed, torch.device("cpu"), lambda progress: None)


def test_the_loss_falls_and_the_budget_is_met(pairs: PackedPairs) -> None:
    trained = run(pairs, samples=1_600)
    assert trained.steps == 100 and trained.samples_seen == 1_600
    assert trained.final_loss < 0.7 * trained.curve[0]["loss"]
    assert trained.curve[0]["loss"] == pytest.approx(np.log(16), rel=0.3)
    assert (trained.curve[0]["step"], trained.curve[-1]["step"]) == (1, 100)


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(pairs: PackedPairs) -> None:
    first, again, other = (weights_sha256(run(pairs, seed).model.state_dict()) for seed in (0, 0, 1))
    assert first == again != other


def test_a_loss_that_is_not_finite_stops_the_run(pairs: PackedPairs) -> None:
    with pytest.raises(TrainingError, match=r"loss is nan at step .* Lower recipe\.learning_rate"):
        train(
            MODEL,
            Recipe(global_batch_size=16, learning_rate=1e30, gradient_clip=None, warmup_fraction=0.0),
            pairs,
            320,
            0,
            torch.device("cpu"),
            lambda progress: None,
        )


def test_gains_biases_and_the_logit_scale_are_not_decayed() -> None:
    plain, decayed = parameter_groups(build_model(MODEL), 0.2)
    assert plain["weight_decay"] == 0.0 and decayed["weight_decay"] == 0.2
    assert all(p.ndim < 2 for p in plain["params"]) and all(p.ndim >= 2 for p in decayed["params"])


def test_pixels_are_normalised_as_open_clips_transform_does() -> None:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = image_transform_v2(PreprocessCfg(size=16), is_train=False)(Image.fromarray(pixels))
    assert torch.allclose(normalise(torch.from_numpy(pixels)[None])[0], expected, atol=1e-6)


def test_a_checkpoint_comes_back_with_the_same_weights_and_the_same_bytes(pairs: PackedPairs, tmp_path: Path) -> None:
    model = run(pairs).model
    about = {"model_config": MODEL, "cell": "c", "tokenizer_sha256": "t"}
    for name in ("a.pt", "b.pt"):
        save_checkpoint(tmp_path / name, model, about)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    loaded, read = load_checkpoint(tmp_path / "a.pt")
    assert weights_sha256(loaded.state_dict()) == weights_sha256(model.state_dict())
    assert read["cell"] == "c" and not loaded.training


def test_a_checkpoint_of_other_shapes_or_cut_short_is_refused(pairs: PackedPairs, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    wider = MODEL | {"embed_dim": 24}
    save_checkpoint(path, run(pairs).model, {"model_config": wider})
    with pytest.raises(EvaluationError, match="weights do not fit"):
        load_checkpoint(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EvaluationError, match="not a checkpoint of this workflow"):
        load_checkpoint(path)
