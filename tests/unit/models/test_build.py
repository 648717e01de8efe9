"""Models, preprocessing and checkpoints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from clip_scaling.errors import EvaluationError
from clip_scaling.models.build import build_model, load_checkpoint, normalise, save_checkpoint, weights_sha256
from clip_scaling.train.augment import crop_boxes, fit
from clip_scaling.train.optimizer import parameter_groups

from ..train.conftest import MODEL


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


def test_a_checkpoint_comes_back_with_the_same_weights_and_the_same_bytes(tmp_path: Path) -> None:
    model = build_model(MODEL)
    about = {"model_config": MODEL, "cell": "c", "tokenizer_sha256": "t"}
    for name in ("a.pt", "b.pt"):
        save_checkpoint(tmp_path / name, model.state_dict(), about)
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "b.pt").read_bytes()
    loaded, read = load_checkpoint(tmp_path / "a.pt")
    assert weights_sha256(loaded.state_dict()) == weights_sha256(model.state_dict())
    assert read["cell"] == "c" and not loaded.training


def test_a_checkpoint_of_other_shapes_or_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, build_model(MODEL).state_dict(), {"model_config": MODEL | {"embed_dim": 24}})
    with pytest.raises(EvaluationError, match="weights do not fit"):
        load_checkpoint(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EvaluationError, match="not a checkpoint of this workflow"):
        load_checkpoint(path)


def test_crops_depend_on_seed_epoch_and_pair_alone_and_keep_their_bounds() -> None:
    pairs, sizes = np.arange(500), np.full((500, 2), 64)
    boxes = crop_boxes((0.5, 1.0), 0, np.zeros(500, int), pairs, sizes)
    assert np.array_equal(boxes[100:], crop_boxes((0.5, 1.0), 0, np.zeros(400, int), pairs[100:], sizes[100:]))
    assert not np.array_equal(boxes, crop_boxes((0.5, 1.0), 0, np.ones(500, int), pairs, sizes))
    width, height = (boxes[:, 2:] - boxes[:, :2]).T
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= 64).all()
    assert 0.45 < (width * height / 64**2).min() and (width * height / 64**2).mean() == pytest.approx(0.73, abs=0.04)


def test_the_whole_image_is_left_as_it_is_and_another_is_cropped_at_its_centre() -> None:
    from PIL import Image

    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    assert np.array_equal(fit(Image.fromarray(pixels), 8), pixels)
    wide = np.concatenate([np.zeros((8, 4, 3), np.uint8), pixels, np.zeros((8, 4, 3), np.uint8)], axis=1)
    assert np.array_equal(fit(Image.fromarray(wide), 8), pixels)
