"""Models of the paper's size are built and trained at their real image size, with gradient checkpointing, on a CPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.study.resolve import model_config
from clip_scaling.train.engine import Engine
from clip_scaling.train.inputs import Batch

from .conftest import ALONE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"),
    # Parameters in millions: Cherti et al. 2022, the table of architectures. ViT-H-14 (986.11) needs 17 GB and two
    # minutes more: benchmarks/training_large_models.py takes its steps.
    [("ViT-B-32", 151.28), ("ViT-L-14", 427.62)],
)
def test_a_large_model_takes_two_steps(name: str, parameters: float, repository: object) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        losses, engine = two_steps(name, repository)
    finally:
        torch.set_num_threads(threads)
    assert engine.parameters / 1e6 == pytest.approx(parameters, abs=0.01)
    # Two pairs: at the start both logits of a row are nearly equal, and the loss is about ln 2.
    assert losses[0] == pytest.approx(np.log(2), abs=0.3)
    assert np.isfinite(losses[1]) and losses[1] != losses[0]


def two_steps(name: str, root: object) -> tuple[list[float], Engine]:
    """Losses of two steps on one synthetic batch of two pairs at 224 px."""
    recipe = Recipe(global_batch_size=2, learning_rate=1e-5, warmup_fraction=0.0)
    engine = Engine(model_config(name, root), recipe, TrainResources(gradient_checkpointing=True), ALONE, seed=0)
    generator = np.random.default_rng(0)
    pixels = torch.from_numpy(generator.integers(0, 256, (2, 224, 224, 3), dtype=np.uint8))
    tokens = torch.zeros(2, 77, dtype=torch.long)
    tokens[:, :4] = torch.tensor([[49406, 320, 1125, 49407], [49406, 320, 2368, 49407]])
    losses = []
    for step in range(2):
        loss, norm = engine.gradients(Batch(pixels, tokens, np.arange(2)), step)
        assert np.isfinite(norm)
        engine.move(recipe.learning_rate)
        losses.append(loss)
    return losses, engine
