"""A checkpoint comes back whole, or is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_scaling.errors import EvaluationError
from clip_scaling.models.build import build_model
from clip_scaling.models.checkpoint import load_checkpoint, save_checkpoint, weights_sha256

from ..train.conftest import MODEL


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
