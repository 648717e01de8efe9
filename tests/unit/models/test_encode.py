"""Encoders: unit vectors of images, texts and classes, and what they refuse to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from clip_scaling.errors import EvaluationError
from clip_scaling.models.build import build_model
from clip_scaling.models.checkpoint import save_checkpoint
from clip_scaling.models.encode import Encoder, load_cell, load_state
from clip_scaling.models.preprocess import Preprocess
from clip_scaling.models.tokenizer import train_merges, write_merges
from clip_scaling.train.state import write_state

from ..train.conftest import MODEL


class Arrows(nn.Module):
    """A text of n letters is (n, 0) where it begins with a, else (0, n)."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(0.0))

    def encode_text(self, tokens: Tensor) -> Tensor:
        return tokens.float()


def tokenizer(texts: str | list[str]) -> Tensor:
    return torch.tensor([[len(text), 0] if text[0] == "a" else [0, len(text)] for text in texts])


@pytest.mark.parametrize("batch_size", [1, 3, 1024])
def test_a_class_is_the_direction_of_its_prompts_unit_vectors(batch_size: int) -> None:
    encoder = Encoder(Arrows(), tokenizer, Preprocess(8), torch.device("cpu"), {})
    found = encoder.classes(["cat", "elephant"], ["a {c}", "the {c}"], batch_size)
    # Each prompt has length 1, however long its text: the mean of (1, 0) and (0, 1) points between them.
    assert torch.allclose(found, torch.full((2, 2), 0.5**0.5))
    only = encoder.classes(["cat"], ["a {c}"], batch_size)
    assert torch.equal(only, torch.tensor([[1.0, 0.0]]))


def test_a_cell_with_another_tokenizer_is_refused(tmp_path: Path) -> None:
    write_merges(tmp_path / "merges.txt.gz", train_merges(["one two"] * 3, 600))
    about: dict[str, Any] = {"cell": "c", "state": "trained", "model_config": MODEL, "tokenizer_sha256": "another"}
    save_checkpoint(tmp_path / "checkpoint.pt", build_model(MODEL).state_dict(), about)
    with pytest.raises(EvaluationError, match="trained with another tokenizer than .*Train the cell again"):
        load_cell(tmp_path / "checkpoint.pt", tmp_path / "merges.txt.gz")


def test_a_state_of_a_run_that_diverged_has_no_encoder(tmp_path: Path) -> None:
    state = {"model": build_model(MODEL).state_dict(), "progress": {"step": 7}, "is_diverged": True}
    write_state(tmp_path / "state.pt", state)
    assert load_state(tmp_path / "state.pt", tmp_path / "unused", MODEL) == (None, {"step": 7, "state": "diverged"})
