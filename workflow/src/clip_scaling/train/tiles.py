"""Contrastive losses in tiles: forward and backward without the whole matrix of logits.

Each tile of logits is made, used and dropped: the forward pass keeps one number a row (and a column), the backward pass
makes the tile again, as flash attention does. Memory is one tile's beside the features, however large the batch. The
losses are open_clip's ClipLoss and SigLipLoss, within rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = 4096
"""Rows and columns of a tile: 64 MiB of logits in fp32."""

Product: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(n, k) and (k, m) fp32 -> (n, m) fp32."""


@contextmanager
def _tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def tf32_product(left: Tensor, right: Tensor) -> Tensor:
    """Multiply factors that are rounded to TF32's 10 bits of mantissa, with fp32 sums.

    Between unit vectors a logit is off by at most 2^-10 times the logit scale, mostly by far less. Rounded here, since
    tensor cores cut the other bits off, which makes every product smaller.
    """
    with _tf32():
        return _rounded(left) @ _rounded(right)


def _rounded(tensor: Tensor) -> Tensor:
    return tensor.view(torch.int32).add(1 << 12).bitwise_and_(-1 << 13).view(torch.float32)


class _Sums:
    """Sums of exponentials, each beside the largest exponent so far: so they neither overflow nor lose digits."""

    def __init__(self, like: Tensor, count: int) -> None:
        self.peaks, self.sums = like.new_full((count,), -torch.inf), like.new_zeros(count)

    def add(self, logits: Tensor, which: slice, dim: int) -> None:
        """Add the logits of a tile along `dim` to the sums `which`."""
        before = self.peaks[which]
        peaks = torch.maximum(before, logits.amax(dim))
        more = (logits - peaks.unsqueeze(dim)).exp_().sum(dim)
        self.sums[which] = self.sums[which] * (before - peaks).exp() + more
        self.peaks[which] = peaks


class InfoNCE(torch.autograd.Function):
    """Mean cross-entropy of rows against their own columns, and with `is_symmetric` of columns against rows too.

    `InfoNCE.apply(rows, columns, scale, first, is_symmetric, tile, product)` -> (), nats. rows: (n, dim).
    columns: (N, dim). scale: (), the inverse temperature. first: row i belongs to column first + i.
    is_symmetric: the mean of both directions over one square matrix, n = N.
    """

    @staticmethod
    def forward(
        ctx: Any,
        rows: Tensor,
        columns: Tensor,
        scale: Tensor,
        first: int,
        is_symmetric: bool,
        tile: int,
        product: Product,
    ) -> Tensor:
        """The log-sum-exp of each row, and of each column where both directions are asked for."""
        over_rows, over_columns = _Sums(rows, len(rows)), _Sums(rows, len(columns))
        own = rows.new_empty(len(rows))
        for here, there in _tiles(len(rows), len(columns), tile):
            logits = product(rows[here], columns[there].T).mul_(scale)
            over_rows.add(logits, here, 1)
            if is_symmetric:
                over_columns.add(logits, there, 0)
            whose, met = _own(logits, here, there, first)
            own[whose] = met
        row_logs, column_logs = over_rows.sums.log(), over_columns.sums.log()
        ctx.save_for_backward(rows, columns, scale, over_rows.peaks, row_logs, over_columns.peaks, column_logs)
        ctx.cut = first, is_symmetric, tile, product
        loss = (over_rows.peaks - own + row_logs).mean()
        return (loss + (over_columns.peaks - own + column_logs).mean()) / 2 if is_symmetric else loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Softmax less one at each row's own column, tile by tile."""
        rows, columns, scale, row_peaks, row_logs, column_peaks, column_logs = ctx.saved_tensors
        first, is_symmetric, tile, product = ctx.cut
        ways = 2 if is_symmetric else 1

        def of_logits(here: slice, there: slice) -> Tensor:
            logits = product(rows[here], columns[there].T).mul_(scale)
            shares = (logits - row_peaks[here, None]).sub_(row_logs[here, None]).exp_()
            if is_symmetric:
                shares += logits.sub_(column_peaks[there]).sub_(column_logs[there]).exp_()
            _own(shares, here, there, first)[1].sub_(ways)
            return shares

        gradients = _spread_back(rows, columns, scale, of_logits, tile, product)
        weight = gradient / (ways * len(rows))
        return (*(weight * found for found in gradients[:3]), None, None, None, None)


class Sigmoid(torch.autograd.Function):
    """SigLIP's loss of rows against all columns: each pair of a row and a column is a yes or a no, summed over columns.

    `Sigmoid.apply(rows, columns, scale, bias, first, tile, product)` -> (), nats a row; the arguments as of `InfoNCE`.
    bias: (), added to every logit.
    """

    @staticmethod
    def forward(
        ctx: Any, rows: Tensor, columns: Tensor, scale: Tensor, bias: Tensor, first: int, tile: int, product: Product
    ) -> Tensor:
        """-log sigmoid of the logits with the sign of what is true, summed row by row."""
        total = rows.new_zeros(len(rows))
        for here, there in _tiles(len(rows), len(columns), tile):
            logits = product(rows[here], columns[there].T).mul_(scale).add_(bias)
            _own(logits, here, there, first)[1].neg_()
            total[here] += F.softplus(logits).sum(1)
        ctx.save_for_backward(rows, columns, scale, bias)
        ctx.cut = first, tile, product
        return total.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Sigmoid of the same, tile by tile."""
        rows, columns, scale, bias = ctx.saved_tensors
        first, tile, product = ctx.cut

        def of_logits(here: slice, there: slice) -> Tensor:
            logits = product(rows[here], columns[there].T).mul_(scale).add_(bias)
            _own(logits, here, there, first)[1].neg_()
            shares = logits.sigmoid_()
            _own(shares, here, there, first)[1].neg_()
            return shares

        gradients = _spread_back(rows, columns, scale, of_logits, tile, product)
        weight = gradient / len(rows)
        return (*(weight * found for found in gradients), None, None, None)


def _spread_back(
    rows: Tensor,
    columns: Tensor,
    scale: Tensor,
    of_logits: Callable[[slice, slice], Tensor],
    tile: int,
    product: Product,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of rows, columns, scale and bias, from a function that gives the gradient of a tile of logits."""
    of_rows, of_columns = torch.zeros_like(rows), torch.zeros_like(columns)
    of_bias = rows.new_zeros(len(rows))
    for here, there in _tiles(len(rows), len(columns), tile):
        of_tile = of_logits(here, there)
        of_rows[here] += product(of_tile, columns[there])
        of_columns[there] += product(of_tile.T, rows[here])
        of_bias[here] += of_tile.sum(1)
    # The scale multiplies every product of a row with a column: its gradient is that of the rows along the rows.
    of_scale = (of_rows * rows).sum()
    return of_rows.mul_(scale), of_columns.mul_(scale), of_scale, of_bias.sum()


def _tiles(rows: int, columns: int, tile: int) -> Iterator[tuple[slice, slice]]:
    for top in range(0, rows, tile):
        for left in range(0, columns, tile):
            yield slice(top, min(top + tile, rows)), slice(left, min(left + tile, columns))


def _own(matrix: Tensor, here: slice, there: slice, first: int) -> tuple[slice, Tensor]:
    """The rows of a tile that meet their own column, first + row, in it; and a view of the entries where they do."""
    shift = first + here.start - there.start
    top = max(0, -shift)
    count = max(0, min(len(matrix) - top, matrix.shape[1] - shift - top))
    entries = matrix.diagonal(shift) if count else matrix.new_empty(0)
    return slice(here.start + top, here.start + top + count), entries
