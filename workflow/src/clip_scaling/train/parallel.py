"""How a model is spread over ranks: DDP, or FSDP2 for what one GPU cannot hold; and its state as one whole."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from open_clip.transformer import LayerNorm, ResidualAttentionBlock
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_model_state_dict,
    get_optimizer_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from ..models.text_tower import Block as TextBlock
from ..study.config.resources import TrainResources
from .distributed import Ranks

WHOLE = StateDictOptions(full_state_dict=True, cpu_offload=True)
"""A state as one process would have it: gathered to the main rank, on the CPU."""


class ParallelModel:
    """A model on its ranks.

    `module` is what a step calls; parameters, gradients and states are reached through here. dtype: of mixed
    precision, None without: FSDP2 gathers parameters in it, and sums gradients in fp32.
    """

    def __init__(self, model: Any, resources: TrainResources, ranks: Ranks, dtype: torch.dtype | None = None) -> None:
        self.ranks, self.dtype = ranks, dtype
        self.replicated: list[nn.Parameter] = []
        if resources.gradient_checkpointing:
            model.set_grad_checkpointing()
        model = model.to(ranks.device).train()
        if resources.parallel == "fsdp2" and ranks.size > 1:
            # Scalars cannot be sharded: their gradients are averaged by hand.
            self.replicated = [p for p in model.parameters() if p.ndim == 0]
            _shard(model, set(self.replicated), dtype, resources.compile is True)
        self.base: Any = model
        if resources.compile is True and not isinstance(model, FSDPModule):
            model = torch.compile(model)
        if ranks.size > 1 and resources.parallel == "ddp":
            model = DistributedDataParallel(model, device_ids=[ranks.device] if ranks.device.type == "cuda" else None)
        self.module: nn.Module = model

    @property
    def is_ddp(self) -> bool:
        """Whether ranks sum their gradients in DDP's buckets."""
        return isinstance(self.module, DistributedDataParallel)

    @property
    def is_sharded(self) -> bool:
        """Whether ranks hold parts of the parameters."""
        return isinstance(self.base, FSDPModule)

    @contextmanager
    def evaluated(self) -> Iterator[None]:
        """Inside, `encoder` can be called, without gradients. All ranks must do so together."""
        self.base.eval()
        if isinstance(self.base, FSDPModule):  # what is in no block is gathered by a step alone
            self.base.unshard()
        try:
            with torch.no_grad():
                yield
        finally:
            if isinstance(self.base, FSDPModule):
                self.base.reshard()
            self.base.train()

    @property
    def encoder(self) -> Any:
        """The model for evaluation; in mixed precision where its parameters are gathered so."""
        is_mixed = self.is_sharded and self.dtype is not None
        return MixedEncoder(self.base, self.dtype, self.ranks.device.type) if is_mixed else self.base

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


class MixedEncoder:
    """The encoders of a model whose parameters are gathered in fp16 or bfloat16."""

    def __init__(self, model: Any, dtype: torch.dtype | None, device: str) -> None:
        self.model, self.dtype, self.device = model, dtype, device
        self.logit_scale = model.logit_scale

    def encode_image(self, image: Tensor) -> Tensor:
        """(n, 3, height, width) -> (n, embed_dim)."""
        with torch.autocast(self.device, self.dtype):
            return self.model.encode_image(image)

    def encode_text(self, text: Tensor) -> Tensor:
        """(n, context) -> (n, embed_dim)."""
        with torch.autocast(self.device, self.dtype):
            return self.model.encode_text(text)


class WidenedLayerNorm(LayerNorm):
    """A layer norm whose gathered parameters may be narrower than its input: CPU kernels take one format only."""

    def forward(self, x: Tensor) -> Tensor:
        """The same shape and format as x."""
        assert self.weight is not None and self.bias is not None
        return F.layer_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)


def _shard(model: nn.Module, whole: set[nn.Parameter], dtype: torch.dtype | None, is_compiled: bool) -> None:
    """Shard a model by blocks. whole: parameters that stay whole. is_compiled: compile each block.

    A compiled block exchanges nothing: gathering the next one goes on beside it. Inputs keep their format, as under
    autocast: the sum that the blocks add to stays fp32.
    """
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=None if dtype is None else torch.float32, cast_forward_inputs=False
    )
    for norm in [each for each in model.modules() if type(each) is LayerNorm and dtype is not None]:
        norm.__class__ = WidenedLayerNorm
    for block in model.modules():
        if isinstance(block, ResidualAttentionBlock):
            if is_compiled:
                # The number of tokens of a text changes from step to step.
                block.compile(dynamic=True if isinstance(block, TextBlock) else None)
            fully_shard(block, mp_policy=policy)
    fully_shard(model, mp_policy=policy, ignored_params=whole)
