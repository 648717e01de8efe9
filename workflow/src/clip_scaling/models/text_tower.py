"""A text tower that runs on the tokens that are there.

In a causal tower whose feature is taken at the end-of-text token, nothing after that token reaches the feature, and of
the last block only the end-of-text token's row does. So captions are packed one after another without their padding,
attention keeps to each caption, and the last block is computed for one row a caption. Features and gradients are the
padded tower's but for rounding; names of parameters and the state dict stay.

Towers of other kinds (no causal mask, other pooling, CoCa's, blocks of other kinds) are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CustomTextCLIP
from open_clip.transformer import ResidualAttentionBlock, TextTransformer
from torch import Tensor, nn


class Captions(NamedTuple):
    """Captions without their padding, one after another.

    tokens: (total,) int64. places: (total,) int64, each token's place in its caption. rows: (total,) int64, which
    caption it is of. starts: (n + 1,) int32, where each caption begins, and the total. longest: no caption has more
    tokens; attention that pads does so to this length.
    """

    tokens: Tensor
    places: Tensor
    rows: Tensor
    starts: Tensor
    longest: int

    def mark_dynamic(self) -> Captions:
        """Say to torch.compile that the total changes from step to step: one compilation serves all of them."""
        for tensor in (self.tokens, self.places, self.rows):
            torch._dynamo.mark_dynamic(tensor, 0)
        return self

    @property
    def last(self) -> Tensor:
        """(n,) int64: the row of each caption's end-of-text token."""
        return self.starts[1:].long() - 1


Attention: TypeAlias = Callable[[Tensor, Tensor, Tensor, Captions, bool], Tensor]
"""attend(query, key, value, captions, is_last) -> like query. key, value: (total, heads, width). query: the same; with
`is_last` (n, heads, width), of the last token of each caption. Causal within each caption, scaled by width^-1/2."""


@dataclass(frozen=True)
class EndOfText:
    """Where the captions of a tower end. pool_type: open_clip's `argmax` or `eos`. eos_id: what `eos` looks for."""

    pool_type: str
    eos_id: int

    def lengths(self, tokens: Tensor) -> Tensor:
        """Tokens of each text up to its end-of-text token, where the tower takes its feature: (n,) int64.

        tokens: (n, context), on the CPU, or the step waits for the GPU.
        """
        ends = tokens if self.pool_type == "argmax" else (tokens == self.eos_id).int()
        return ends.argmax(dim=-1).cpu() + 1


def pack(tokens: Tensor, lengths: Tensor, longest: int | None = None) -> Captions:
    """Pack captions on the device of their tokens. Nothing waits for that device.

    tokens: (n, context). lengths: (n,) on the CPU. longest: default the longest length.
    """
    rows, places = (torch.arange(tokens.shape[1]) < lengths[:, None]).nonzero(as_tuple=True)
    starts = F.pad(lengths.cumsum(0), (1, 0)).int()
    places, rows, starts = (_sent(tensor, tokens.device) for tensor in (places, rows, starts))
    found = tokens.flatten().index_select(0, rows * tokens.shape[1] + places)
    return Captions(found, places, rows, starts, int(lengths.max()) if longest is None else longest)


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy to a device; to a GPU from pinned memory, in the background."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


class Block(ResidualAttentionBlock):
    """A block of a text tower that takes packed captions in place of a mask: (total, width) -> the same."""

    attend: Attention

    def attention(self, q_x: Tensor, k_x: Any = None, v_x: Any = None, attn_mask: Any = None) -> Tensor:
        """Attention within each caption; plain attention where the mask is a mask."""
        if not isinstance(attn_mask, Captions):
            return super().attention(q_x, k_x, v_x, attn_mask)
        attn = self.attn
        shape = (-1, attn.num_heads, attn.head_dim)
        parts = F.linear(q_x, attn.in_proj_weight, attn.in_proj_bias).chunk(3, dim=-1)
        query, key, value = (part.reshape(shape) for part in parts)
        return attn.out_proj(self.attend(query, key, value, attn_mask, False).flatten(1))


class LastBlock(Block):
    """The last block: of packed captions it gives the last token's row only, (total, width) -> (n, width)."""

    def forward(self, q_x: Tensor, k_x: Any = None, v_x: Any = None, attn_mask: Any = None) -> Tensor:
        """The plain block where the mask is a mask."""
        if not isinstance(attn_mask, Captions):
            return super().forward(q_x, k_x, v_x, attn_mask)
        attn, last = self.attn, attn_mask.last
        width, shape = attn.embed_dim, (-1, attn.num_heads, attn.head_dim)
        inside = self.ln_1(q_x)
        query = F.linear(inside.index_select(0, last), attn.in_proj_weight[:width], attn.in_proj_bias[:width])
        both = F.linear(inside, attn.in_proj_weight[width:], attn.in_proj_bias[width:])
        key, value = (part.reshape(shape) for part in both.chunk(2, dim=-1))
        found = self.attend(query.reshape(shape), key, value, attn_mask, True).flatten(1)
        x = q_x.index_select(0, last) + self.ls_1(attn.out_proj(found))
        return x + self.ls_2(self.mlp(self.ln_2(x)))


class PackedCLIP(CLIP):
    """open_clip's CLIP, whose text may be packed captions."""

    def encode_text(self, text: Any, normalize: bool = False) -> Tensor:
        """(n, embed_dim) features of packed captions, or of (n, context) tokens."""
        if not isinstance(text, Captions):
            return super().encode_text(text, normalize)
        features = _encode(self, text)
        return F.normalize(features, dim=-1) if normalize else features


class PackedTextTransformer(TextTransformer):
    """open_clip's text tower of its own, whose text may be packed captions."""

    def forward(self, text: Any) -> Tensor:
        """(n, embed_dim) features of packed captions, or of (n, context) tokens."""
        return _encode(self, text) if isinstance(text, Captions) else super().forward(text)


def _encode(tower: Any, captions: Captions) -> Tensor:
    """(n, embed_dim) features. tower: a CLIP or a TextTransformer: they name their parts alike."""
    kind = tower.transformer.get_cast_dtype()
    x = tower.token_embedding(captions.tokens).to(kind)
    x = x + F.embedding(captions.places, tower.positional_embedding).to(kind)
    x = tower.ln_final(tower.transformer(x, attn_mask=captions))
    if tower.text_projection is None:
        return x
    return tower.text_projection(x) if isinstance(tower.text_projection, nn.Linear) else x @ tower.text_projection


def take_packed(model: nn.Module, attend: Attention | None = None) -> EndOfText | None:
    """Let a model that was built take packed captions, where its text tower is of the kind that can.

    Call it before the model is wrapped or compiled. attend: default `padded_attention`, which every device has.
    Returns: where its captions end; None where the model is left as it is, and takes rows of tokens only.
    """
    is_own = type(model) is CustomTextCLIP
    tower: Any = model.text if isinstance(model, CustomTextCLIP) else model
    if type(tower) not in (CLIP, TextTransformer) or not _reads_at_the_end(tower):
        return None
    blocks = list(tower.transformer.resblocks)
    # Other classes for the same objects, as FSDP2 does: nothing that has a name moves.
    for block in blocks:
        block.__class__ = LastBlock if block is blocks[-1] else Block
        block.attend = attend or padded_attention
    tower.__class__ = PackedTextTransformer if is_own else PackedCLIP
    pool_type, eos_id = (tower.pool_type, tower.eos_id) if is_own else (tower.text_pool_type, tower.text_eos_id)
    return EndOfText(pool_type, eos_id)


def _reads_at_the_end(tower: Any) -> bool:
    """Whether a tower is causal, takes its feature at the end-of-text token, and has plain blocks."""
    if getattr(tower, "cls_emb", None) is not None or getattr(tower, "output_tokens", False):
        return False
    pool_type = tower.pool_type if isinstance(tower, TextTransformer) else tower.text_pool_type
    blocks = tower.transformer.resblocks
    are_plain = all(
        type(block) is ResidualAttentionBlock and block.attn.batch_first and not block.attn.dropout for block in blocks
    )
    return tower.attn_mask is not None and pool_type in ("argmax", "eos") and are_plain and len(blocks) > 0


def attention_on(device: torch.device) -> Attention:
    """The fastest attention over packed captions on a device: torch's kernel for packed sequences, or padding."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8:
        return attention
    return padded_attention


def attention(query: Tensor, key: Tensor, value: Tensor, captions: Captions, is_last: bool) -> Tensor:
    """Attend on a GPU: packed where torch's kernel takes these numbers, else padded."""
    width = query.shape[-1]
    if query.dtype in (torch.float16, torch.bfloat16) and width % 8 == 0 and width <= 256:
        return varlen_attention(query, key, value, captions, is_last)
    return padded_attention(query, key, value, captions, is_last)


def varlen_attention(query: Tensor, key: Tensor, value: Tensor, captions: Captions, is_last: bool) -> Tensor:
    """torch's attention over packed sequences: CUDA (compute capability 8 and above), fp16 and bfloat16."""
    from torch.nn.attention.varlen import varlen_attn

    starts = captions.starts
    query_starts = torch.arange(len(starts), dtype=torch.int32, device=starts.device) if is_last else starts
    found: Any = varlen_attn(
        query.contiguous(), key.contiguous(), value.contiguous(), query_starts, starts,
        1 if is_last else captions.longest, captions.longest, window_size=(-1, -1) if is_last else (-1, 0),
    )  # fmt: skip
    return found


def padded_attention(query: Tensor, key: Tensor, value: Tensor, captions: Captions, is_last: bool) -> Tensor:
    """Attend in (n, heads, longest, width): only attention is padded, not what comes before and after it."""
    count, longest = len(captions.starts) - 1, captions.longest
    slots = captions.rows * longest + captions.places
    places = torch.arange(longest, device=query.device)

    def spread(rows: Tensor) -> Tensor:
        spaces = rows.new_zeros(count * longest, *rows.shape[1:]).index_copy(0, slots, rows)
        return spaces.unflatten(0, (count, longest)).transpose(1, 2)

    if is_last:
        lengths = captions.starts.diff()
        is_hidden = places >= lengths[:, None]
        mask = _mask(is_hidden, query.dtype)[:, None, None]
        found = F.scaled_dot_product_attention(query[:, :, None], spread(key), spread(value), attn_mask=mask)
        return found[:, :, 0]
    mask = _mask(places > places[:, None], query.dtype)
    found = F.scaled_dot_product_attention(spread(query), spread(key), spread(value), attn_mask=mask)
    return found.transpose(1, 2).flatten(0, 1).index_select(0, slots)


def _mask(is_hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: 0, or minus infinity where hidden."""
    return torch.zeros(is_hidden.shape, dtype=dtype, device=is_hidden.device).masked_fill(is_hidden, -torch.inf)
