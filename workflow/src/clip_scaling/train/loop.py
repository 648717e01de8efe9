"""The training loop: CLIP's contrastive objective over packed pairs, deterministic from the seed."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from open_clip.loss import ClipLoss
from open_clip.model import CLIP, CustomTextCLIP
from torch import Tensor, nn

from ..config import Recipe
from ..data.packed import PackedPairs
from ..errors import TrainingError
from ..grid import steps_for
from .model import build_model, normalise
from .order import batch_indices
from .schedule import cosine, warmup_steps

log = logging.getLogger(__name__)
MAX_LOG_SCALE = math.log(100)
"""Bound of the log of the logit scale (Radford et al. 2021)."""


@dataclass(frozen=True)
class Progress:
    """One line of the training curve. Loss is the batch's, in nats; the gradient norm is before clipping."""

    step: int
    samples: int
    loss: float
    learning_rate: float
    gradient_norm: float
    logit_scale: float
    seconds: float


@dataclass(frozen=True)
class Trained:
    """A trained model and what was measured on the way."""

    model: CLIP | CustomTextCLIP
    steps: int
    samples_seen: int
    final_loss: float
    """Mean over the last tenth of the steps."""
    seconds: float
    curve: list[dict[str, Any]]


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """open_clip_train's two groups: no decay on gains, biases and the logit scale."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in named if p.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale"))]
    without = {id(p) for p in plain}
    decayed = [p for _, p in named if id(p) not in without]
    return [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": weight_decay}]


def train(
    model_config: dict[str, Any],
    recipe: Recipe,
    pairs: PackedPairs,
    samples_seen: int,
    seed: int,
    device: torch.device,
    report: Callable[[Progress], None],
) -> Trained:
    """Train one cell from fresh weights for steps_for(samples_seen) steps.

    pairs: pixels (n, height, width, 3) uint8 and tokens (n, context) int32.
    report: called for about 100 steps of the run, the first and the last included.
    TrainingError where the warm-up is longer than the run or the loss is not finite.
    """
    steps = steps_for(samples_seen, recipe.global_batch_size)
    warmup = warmup_steps(recipe, steps)
    torch.manual_seed(seed)
    model = build_model(model_config).to(device).train()
    optimizer = torch.optim.AdamW(
        parameter_groups(model, recipe.weight_decay),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.eps,
        fused=True,
    )
    clip_loss = ClipLoss()
    every = max(1, steps // 100)
    losses = np.zeros(steps)
    curve = []
    start = time.perf_counter()
    for step in range(steps):
        rate = cosine(step, steps, warmup, recipe.learning_rate)
        for group in optimizer.param_groups:
            group["lr"] = rate
        pixels, tokens = _batch(pairs, step, recipe.global_batch_size, seed, device)
        features_image, features_text, logit_scale = model(normalise(pixels), tokens)
        loss = clip_loss(features_image, features_text, logit_scale)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        limit = recipe.gradient_clip if recipe.gradient_clip is not None else math.inf
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), limit)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, MAX_LOG_SCALE)
        losses[step] = loss.item()
        if not math.isfinite(losses[step]):
            raise TrainingError(
                f"the loss is {losses[step]} at step {step + 1} of {steps} (learning rate {rate:g}). "
                "Lower recipe.learning_rate for this cell or lengthen its warm-up."
            )
        if step % every == 0 or step == steps - 1:
            now = Progress(
                step=step + 1,
                samples=(step + 1) * recipe.global_batch_size,
                loss=losses[step],
                learning_rate=rate,
                gradient_norm=norm.item(),
                logit_scale=model.logit_scale.exp().item(),
                seconds=time.perf_counter() - start,
            )
            curve.append(asdict(now))
            report(now)
    return Trained(
        model=model,
        steps=steps,
        samples_seen=steps * recipe.global_batch_size,
        final_loss=float(losses[-max(1, steps // 10) :].mean()),
        seconds=time.perf_counter() - start,
        curve=curve,
    )


def _batch(pairs: PackedPairs, step: int, batch_size: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Pixels (batch, height, width, 3) uint8 and tokens (batch, context) int64 of one step, on the device."""
    indices = batch_indices(step, batch_size, len(pairs.pixels), seed)
    pixels = torch.from_numpy(pairs.pixels[indices])
    tokens = torch.from_numpy(pairs.tokens[indices].astype(np.int64))
    return pixels.to(device, non_blocking=True), tokens.to(device, non_blocking=True)
