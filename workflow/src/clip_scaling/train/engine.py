"""One training step: the gradient of a global batch, and the optimizer's move."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import TrainingError
from ..models.build import build_model, model_config_of
from ..models.determinism import choose_kernels, refusals_named
from ..models.image_tower import take_class_token
from ..models.precision import Precision
from ..models.text_tower import Captions, attention_on, pack, take_packed
from ..study.config.resources import TrainResources
from ..study.config.training import Recipe
from .distributed import Ranks
from .inputs import Batch
from .micro_batches import MicroBatches
from .objective import Objective
from .optimizer import build_optimizer
from .parallel import ParallelModel
from .tiles import tf32_product

MAX_LOG_SCALE = math.log(100)
"""Bound of the log of the logit scale (Radford et al. 2021)."""


class Engine:
    """A model, its optimizer and how they take a step, on this rank.

    Weights start from the seed alone. TrainingError where the batch cannot be cut as the resources ask.
    """

    def __init__(
        self, model_config: dict[str, Any], recipe: Recipe, resources: TrainResources, ranks: Ranks, seed: int
    ) -> None:
        if recipe.global_batch_size % (ranks.size * resources.accumulate):
            raise TrainingError(
                f"recipe.global_batch_size {recipe.global_batch_size} is not a multiple of {ranks.size} ranks x "
                f"{resources.accumulate} micro-batches. Change resources.train, or the batch size."
            )
        self.recipe, self.ranks, self.seed = recipe, ranks, seed
        self.accumulate = resources.accumulate
        self.model_config = model_config_of(model_config, recipe)
        self.precision = Precision(recipe.precision, ranks.device)
        choose_kernels(ranks.device, recipe.deterministic)
        has_tf32 = ranks.device.type == "cuda" and recipe.precision != "fp32"
        self.objective = Objective(recipe.objective, ranks, tf32_product if has_tf32 else torch.matmul)
        torch.manual_seed(seed)
        model = build_model(self.model_config)
        take_class_token(model)
        self.ends = take_packed(model, attention_on(ranks.device))
        self.is_compiled, self.is_warm = resources.compile is True, False
        self.model = ParallelModel(model, resources, ranks, self.precision.dtype)
        self.optimizer = build_optimizer(self.model.base, recipe)
        self.parameters = sum(p.numel() for p in self.model.base.parameters())

    def gradients(self, batch: Batch, draw: int) -> tuple[float, float]:
        """`make_gradients`, and wait for its numbers."""
        loss, norm = self.make_gradients(batch, draw)
        return loss.item(), norm.item()

    def make_gradients(self, batch: Batch, draw: int) -> tuple[Tensor, Tensor]:
        """Make the gradient of one global batch, of which `batch` is this rank's share.

        draw: number of the batch in the run: its random draws follow from it. Returns: this rank's loss in nats, (),
        and the norm of the whole gradient before clipping, ().
        """
        chunks = (tensor.chunk(self.accumulate) for tensor in (batch.tokens, self.lengths(batch)))
        texts = [self._text(*chunk) for chunk in zip(*chunks, strict=True)]
        parts = MicroBatches(batch, texts, self.ranks.device, (self.seed, draw, self.ranks.rank))
        self.optimizer.zero_grad(set_to_none=True)
        with refusals_named():
            loss = self.objective.backward(
                self.model.module, parts, self.precision.forward, self.model.without_sync, self.precision.scaler.scale
            )
        self.precision.scaler.unscale_(self.optimizer)
        norm = self.model.finish_gradients(self.recipe.gradient_clip)
        return loss, norm

    @property
    def needs_warm_up(self) -> bool:
        """Whether the first gradients of a process differ from later ones in their bits.

        DDP arranges its buckets by the first backward pass, and a sum over ranks follows the place in a bucket;
        compiled kernels follow the lengths of the captions that they are first made for.
        """
        is_exact = self.ranks.device.type == "cuda" and self.recipe.deterministic and not self.is_warm
        return is_exact and (self.is_compiled or self.model.is_ddp)

    def warm_up(self) -> None:
        """Make a gradient of black images and give it up, so that a continued run takes the kernels of the first."""
        size = self.model_config["vision_cfg"].get("image_size", 224)
        text = self.model_config["text_cfg"]
        context, end = text.get("context_length", 77), text.get("vocab_size", 49408) - 1
        count, place = self.recipe.global_batch_size // self.ranks.size, min(context, 16) - 1
        tokens = torch.zeros(count, context, dtype=torch.int64)
        tokens[:, place] = end if self.ends is None or self.ends.pool_type == "argmax" else self.ends.eos_id
        pixels = torch.zeros(count, size, size, 3, dtype=torch.uint8, device=self.ranks.device)
        self.make_gradients(Batch(pixels, tokens, np.arange(count)), 0)
        self.optimizer.zero_grad(set_to_none=True)
        self.precision.load_scaler(self.precision.scaler.state_dict())
        self.is_warm = True

    def lengths(self, batch: Batch) -> Tensor:
        """Tokens of each text that the text tower takes, (n,) int64 on the CPU."""
        if self.ends is None:
            return torch.full_like(batch.lengths, batch.tokens.shape[1])
        return batch.lengths if self.ends.pool_type == "argmax" else self.ends.lengths(batch.tokens)

    def _text(self, tokens: Tensor, lengths: Tensor) -> Tensor | Captions:
        """Put (n, context) tokens on the device as the text tower takes them."""
        tokens = tokens.to(self.ranks.device, non_blocking=True)
        if self.ends is None:
            return tokens
        if not self.is_compiled:
            return pack(tokens, lengths)
        # The total alone changes from step to step: one compilation serves all, in a continued run too.
        captions = pack(tokens, lengths, longest=tokens.shape[1])
        return captions if self.model.is_sharded else captions.mark_dynamic()

    def move(self, learning_rate: float) -> None:
        """Take the optimizer's step with the gradient made last; the logit scale stays within its bounds."""
        self.set_rate(learning_rate)
        self.precision.scaler.step(self.optimizer)
        self.precision.scaler.update()
        with torch.no_grad():
            self.model.base.logit_scale.clamp_(0, MAX_LOG_SCALE)

    def move_unless(self, blocked: Tensor, learning_rate: float) -> None:
        """`move` where blocked, () float32, is 0; where it is 1 the optimizer and the weights stay as they are.

        The device decides: the host does not wait. What the host decides is left to it: the optimizer keeps the rate
        that it had, and the gradient scaler waits for `Precision.update_unless`.
        """
        optimizer: Any = self.optimizer
        if not optimizer.state and blocked.item():  # a step without effect would make the optimizer's state
            return
        before = optimizer.param_groups[0]["lr"]
        self.set_rate(learning_rate)
        optimizer.found_inf = self.precision.found_inf(self.optimizer, blocked)
        try:
            optimizer.step()
        finally:
            del optimizer.found_inf
        self.set_rate(before)
        scale = self.model.base.logit_scale
        with torch.no_grad():
            scale.copy_(torch.where(blocked > 0, scale, scale.clamp(0, MAX_LOG_SCALE)))

    def set_rate(self, learning_rate: float) -> None:
        """Set the rate of the last step that moved the weights; it is part of the state."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def skip(self) -> None:
        """Take no step; a gradient scaler still learns from what it saw."""
        self.precision.scaler.update()

    @property
    def logit_scale(self) -> float:
        """The inverse temperature."""
        return self.model.base.logit_scale.exp().item()

    def state(self) -> dict[str, Any]:
        """All that the next steps depend on, whole, on the main rank. All ranks must call it."""
        return {**self.model.state(self.optimizer), "scaler": self.precision.scaler.state_dict()}

    def load(self, state: dict[str, Any]) -> None:
        """Go on from a state. All ranks must call it with the same."""
        self.model.load(self.optimizer, state)
        self.precision.load_scaler(state["scaler"])
