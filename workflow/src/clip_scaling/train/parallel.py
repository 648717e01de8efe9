"""How a model is spread over ranks: DDP, or FSDP2 for what one GPU cannot hold; and its state as one whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from open_clip.transformer import ResidualAttentionBlock
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from ..study.config.resources import TrainResources
from .distributed import Ranks

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""A state as one process would have it: gathered to the main rank, on the CPU."""


class ParallelModel:
    """A model on its ranks.

    `module` is what a step calls; parameters, gradients and states are reached through here.
    """

    def __init__(self, model: Any, resources: TrainResources, ranks: Ranks) -> None:
        self.ranks = ranks
        self.replicated: list[nn.Parameter] = []
        if resources.gradient_checkpointing:
            model.set_grad_checkpointing()
        model = model.to(ranks.device).train()
        if resources.parallel == "fsdp2" and ranks.size > 1:
            # Scalars cannot be sharded: their gradients are averaged by hand.
            self.replicated = [p for p in model.parameters() if p.ndim == 0]
            for block in model.modules():
                if isinstance(block, ResidualAttentionBlock):
                    fully_shard(block)
            fully_shard(model, ignored_params=set(self.replicated))
        self.base: Any = model
        if resources.compile:
            model = torch.compile(model)
        if ranks.size > 1 and resources.parallel == "ddp":
            model = DistributedDataParallel(model, device_ids=[ranks.device] if ranks.device.type == "cuda" else None)
        self.module: nn.Module = model

    @property
    def is_ddp(self) -> bool:
        """Whether ranks sum their gradients in DDP's buckets."""
        return isinstance(self.module, DistributedDataParallel)

    @contextmanager
    def without_sync(self) -> Iterator[None]:
        """Ranks exchange no gradients inside: all but the last micro-batch of a step."""
        context: AbstractContextManager[Any] = nullcontext()
        if isinstance(self.module, DistributedDataParallel):
            context = self.module.no_sync()
        if isinstance(self.base, FSDPModule):
            self.base.set_requires_gradient_sync(False)
        try:
            with context:
                yield
        finally:
            if isinstance(self.base, FSDPModule):
                self.base.set_requires_gradient_sync(True)

    def finish_gradients(self, limit: float | None) -> Tensor:
        """Average what the wrapper does not, clip to the norm `limit`; returns the norm before clipping, ()."""
        for parameter in self.replicated:
            if parameter.grad is not None:
                dist.all_reduce(parameter.grad)
                parameter.grad /= self.ranks.size
        gradients = [p.grad for p in self.base.parameters() if p.grad is not None]
        sharded = [g for g in gradients if isinstance(g, DTensor)]
        if not sharded:
            return nn.utils.clip_grad_norm_(self.base.parameters(), math.inf if limit is None else limit)
        total: Any = nn.utils.get_total_norm(sharded)
        norms = [total.full_tensor()]
        norms += [g.norm() for g in gradients if not isinstance(g, DTensor)]
        norm = torch.linalg.vector_norm(torch.stack(norms))
        if limit is not None:
            share = torch.clamp(limit / (norm + 1e-6), max=1.0)
            for gradient in gradients:
                gradient.mul_(share)
        return norm

    def weights(self) -> dict[str, Tensor]:
        """The whole model's state on the main rank's CPU; empty elsewhere. All ranks must call it."""
        weights: dict[str, Any] = get_model_state_dict(self.base, options=WHOLE)
        return weights

    def state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        """Weights and optimizer state, whole, on the main rank's CPU; empty elsewhere. All ranks must call it."""
        return {"model": self.weights(), "optimizer": get_optimizer_state_dict(self.base, optimizer, options=WHOLE)}

    def load(self, optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
        """Take a whole state, which every rank gives; each keeps its part."""
        options = StateDictOptions(full_state_dict=True)
        set_model_state_dict(self.base, state["model"], options=options)
        set_optimizer_state_dict(self.base, optimizer, state["optimizer"], options=options)
