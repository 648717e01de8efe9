"""AdamW with open_clip's parameter groups."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ..study.config.training import Recipe


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """open_clip_train's two groups: no decay on gains, biases and the logit scale."""
    named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    plain = [p for name, p in named if p.ndim < 2 or any(part in name for part in ("bn", "ln", "bias", "logit_scale"))]
    without = {id(p) for p in plain}
    decayed = [p for _, p in named if id(p) not in without]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": weight_decay}]
    # A fused step takes sharded parameters or whole ones, not both at once.
    scalars = [p for p in plain if not isinstance(p, DTensor)]
    if 0 < len(scalars) < len(plain):
        groups[0]["params"] = [p for p in plain if isinstance(p, DTensor)]
        groups.append({"params": scalars, "weight_decay": 0.0})
    return groups


def build_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.AdamW:
    """AdamW over the model's parameters (after they were sharded, where they are)."""
    return torch.optim.AdamW(
        parameter_groups(model, recipe.weight_decay),
        lr=recipe.learning_rate,
        betas=(recipe.beta1, recipe.beta2),
        eps=recipe.eps,
        fused=True,
    )
