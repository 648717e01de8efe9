"""A tiny model, tiny data, and runs of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from clip_scaling.data.shards.packed import PackedPairs
from clip_scaling.models.checkpoint import weights_sha256
from clip_scaling.records.data import PackedManifest
from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.train import signals
from clip_scaling.train.distributed import Ranks
from clip_scaling.train.engine import Engine
from clip_scaling.train.inputs import PackedInput
from clip_scaling.train.loop import Loop, Outcome, Stretch
from clip_scaling.train.order import Order
from clip_scaling.train.schedule import schedule_of
from clip_scaling.train.state import StateFolder

MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 6, "vocab_size": 32, "width": 16, "heads": 2, "layers": 1},
}
ALONE = Ranks(0, 1, 0, torch.device("cpu"))
FIELDS: dict[str, Any] = {"global_batch_size": 16, "learning_rate": 3e-3, "warmup_steps": 2, "warmup_fraction": None}


def some_pairs(count: int = 32, noise: int = 0) -> PackedPairs:
    """Images of plain, different brightness, each with a caption of its own."""
    levels = (np.arange(count) * 251 // count).astype(np.uint8)
    pixels = np.repeat(levels, 16 * 16 * 3).reshape(count, 16, 16, 3)
    if noise:
        pixels = pixels // 2 + np.random.default_rng(0).integers(0, noise, pixels.shape, dtype=np.uint8)
    tokens = np.zeros((count, 6), dtype=np.int32)
    words = np.arange(count)
    tokens[:, 0], tokens[:, 1], tokens[:, 2], tokens[:, 3] = 29, 1 + words % 13, 1 + words // 13, 31
    manifest = PackedManifest(
        data="levels", pairs=count, shard_pairs=[count], image_size=16, context_length=6, vocabulary_size=32,
        truncated_captions=0, tokenizer_sha256="", order_digest="", files=[],
    )  # fmt: skip
    return PackedPairs(pixels, tokens, manifest)


def agrees(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-6) -> bool:
    """Whether two gradients differ by at most `tolerance`, or by that share of the largest element above 1."""
    return bool((found - expected).abs().max() <= tolerance * max(expected.abs().max().item(), 1.0))


class Run:
    """One run of the loop over `pairs`, that a test can stop, look into and continue."""

    def __init__(self, folder: Path, samples: int = 320, seed: int = 0, **changes: Any) -> None:
        resources = TrainResources(**changes.pop("resources", {}))
        self.checkpoint_seconds = changes.pop("checkpoint_seconds", 1e9)
        pairs = changes.pop("pairs", None) or some_pairs()
        self.lag = changes.pop("lag", 0)
        ranks = Ranks(0, 1, 0, torch.device(changes.pop("device"))) if "device" in changes else ALONE
        self.origin, self.stop = changes.pop("origin", 0), changes.pop("stop", None)
        self.model_config = changes.pop("model_config", MODEL)
        self.recipe = Recipe(**FIELDS | changes)
        self.steps: int | None = -(-samples // self.recipe.global_batch_size)
        self.engine = Engine(self.model_config, self.recipe, resources, ranks, seed)
        self.folder = StateFolder(folder)
        order = Order(pairs.manifest.shard_pairs, seed, replacement=self.recipe.sampling == "replacement")
        self.data = PackedInput(pairs, order, self.recipe.crop_scale, ranks.device)

    def loop(self) -> Loop:
        return Loop(
            self.engine,
            self.data,
            schedule_of(self.recipe, self.steps),
            self.folder,
            Stretch(self.stop or self.steps or 0, self.steps, "test", self.origin, self.checkpoint_seconds, self.lag),
        )

    def go(self) -> Outcome:
        loop = self.loop()
        loop.continue_saved()
        return loop.run()

    @property
    def weights(self) -> str:
        return weights_sha256(self.engine.model.weights())


@pytest.fixture(autouse=True)
def no_signals() -> Any:
    signals.forget()
    yield
    signals.forget()
