"""An image tower whose last block is computed for the class token alone, where nothing else of it is used.

In training only: an encoder of images keeps open_clip's own path.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn


class ClassTokenBlock(ResidualAttentionBlock):
    """A last block that gives the first token's row only: (n, tokens, width) -> (n, 1, width)."""

    def forward(self, q_x: Tensor, k_x: Any = None, v_x: Any = None, attn_mask: Any = None) -> Tensor:
        """The plain block outside training."""
        if not self.training:
            return super().forward(q_x, k_x, v_x, attn_mask)
        attn, first = self.attn, q_x[:, :1]
        width = attn.embed_dim
        inside = self.ln_1(q_x)
        query = F.linear(inside[:, :1], attn.in_proj_weight[:width], attn.in_proj_bias[:width])
        key, value = F.linear(inside, attn.in_proj_weight[width:], attn.in_proj_bias[width:]).chunk(2, dim=-1)
        heads = [rows.unflatten(-1, (attn.num_heads, -1)).transpose(1, 2) for rows in (query, key, value)]
        found = F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = first + self.ls_1(attn.out_proj(found))
        return x + self.ls_2(self.mlp(self.ln_2(x)))


def take_class_token(model: nn.Module) -> bool:
    """Let a model that was built leave out what does not reach the class token; whether its image tower is so made.

    Call it before the model is wrapped or compiled. Names of parameters and the state dict stay.
    """
    tower: Any = model.visual
    if type(tower) is not VisionTransformer or tower.attn_pool is not None or tower.output_tokens:
        return False
    blocks = [block for block in tower.transformer.resblocks if type(block) is ResidualAttentionBlock]
    if tower.pool_type != "tok" or len(blocks) != len(tower.transformer.resblocks) or blocks[-1].attn.dropout:
        return False
    blocks[-1].__class__ = ClassTokenBlock
    return True
