"""The objectives: InfoNCE (CLIP), pairwise sigmoid (SigLIP), InfoNCE with captioning (CoCa), by open_clip's losses.

`backward` leaves in the model's parameters the gradient of the objective over the whole global batch, however it is
cut into ranks and micro-batches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor, nn
from torch.distributed.nn.functional import all_gather

from ..models.text_tower import Captions
from .distributed import Ranks
from .tiles import TILE, InfoNCE, Product, Sigmoid

CAPTION_WEIGHT = 2.0
"""Weight of CoCa's caption loss beside the contrastive one: open_clip_train's default, Yu et al. 2022, table 8."""
PAD_TOKEN = 0


@dataclass(frozen=True)
class MicroBatch:
    """pixels: (n, 3, height, width) float. seed: of the pass's random draws.

    text: (n, context) int64 tokens, or packed captions where the text tower takes them.
    """

    pixels: Tensor
    text: Tensor | Captions
    seed: int


class Objective:
    """An objective over the global batch of all ranks.

    A matrix of logits that has more entries than tile^2 is made in tiles. product: multiplies the matrices of tiles.
    """

    def __init__(self, name: str, ranks: Ranks, product: Product = torch.matmul, tile: int = TILE) -> None:
        self.name, self.ranks, self.product, self.tile = name, ranks, product, tile
        self.loss: nn.Module = (
            SigLipLoss(rank=ranks.rank, world_size=ranks.size, dist_impl="gather")
            if name == "siglip"
            else ClipLoss(local_loss=True, gather_with_grad=True, rank=ranks.rank, world_size=ranks.size)
        )

    def contrastive(self, out: dict[str, Tensor]) -> Tensor:
        """This rank's contrastive loss, (), fp32; its mean over ranks is the global batch's."""
        image, text = out["image_features"].float(), out["text_features"].float()
        if len(image) ** 2 * self.ranks.size > self.tile**2:
            return self._in_tiles(image, text, out)
        if self.name == "siglip":
            return self.loss(image, text, out["logit_scale"], out["logit_bias"])
        return self.loss(image, text, out["logit_scale"])

    def _in_tiles(self, image: Tensor, text: Tensor, out: dict[str, Tensor]) -> Tensor:
        """The same without the whole matrix of logits."""
        scale, how = out["logit_scale"], (self.tile, self.product)
        first = self.ranks.rank * len(image)
        if self.name == "siglip":
            return Sigmoid.apply(image, self._of_all_ranks(text), scale, out["logit_bias"], first, *how)
        if self.ranks.size == 1:
            return InfoNCE.apply(image, text, scale, first, True, *how)
        of_images = InfoNCE.apply(image, self._of_all_ranks(text), scale, first, False, *how)
        of_texts = InfoNCE.apply(text, self._of_all_ranks(image), scale, first, False, *how)
        return (of_images + of_texts) / 2

    def _of_all_ranks(self, features: Tensor) -> Tensor:
        """Every rank's features, in order; their gradients go back to the rank that made them."""
        return features if self.ranks.size == 1 else torch.cat(all_gather(features))

    def caption(self, out: dict[str, Tensor], words: float) -> Tensor:
        """This rank's caption loss, (), fp32: nats a word, weighted so that its mean over ranks is the batch's.

        words: words of the global batch that are not padding, divided by the ranks.
        """
        logits, labels = out["logits"].float(), out["labels"]
        if labels.device.type == "cpu":
            logits = logits.permute(0, 2, 1)
        else:  # on a GPU the kernel over two dimensions is not deterministic
            logits, labels = logits.flatten(0, 1), labels.flatten()
        total = F.cross_entropy(logits, labels, ignore_index=PAD_TOKEN, reduction="sum")
        return CAPTION_WEIGHT * total / words

    def backward(
        self,
        model: nn.Module,
        batches: Sequence[MicroBatch],
        forward: Callable[[], AbstractContextManager[None]],
        without_sync: Callable[[], AbstractContextManager[None]],
        scale: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """Add the gradient to the parameters; returns this rank's loss, ().

        forward: context of a forward pass (its precision). without_sync: context in which ranks exchange no gradients.
        scale: the gradient scaler's. With several micro-batches the features of all are made first, without gradients;
        then each is made again and takes the gradient of its features (Gao et al. 2021, GradCache): memory is one
        micro-batch's and the contrastive batch stays whole.
        """
        words = self._words(batches) if self.name == "coca" else 0.0
        if len(batches) == 1:
            out = self._forward(model, batches[0], forward)
            loss = self.contrastive(out)
            if self.name == "coca":
                loss = loss + self.caption(out, words)
            scale(loss).backward()
            return loss.detach()
        with torch.no_grad():
            parts = [self._forward(model, batch, forward) for batch in batches]
        features = {
            name: torch.cat([part[name].float() for part in parts]).requires_grad_()
            for name in ("image_features", "text_features")
        }
        scalars = {name: parts[0][name].detach().clone().requires_grad_() for name in self._scalars()}
        loss = self.contrastive({**features, **scalars})
        scale(loss).backward()
        total, begin = loss.detach(), 0
        for number, batch in enumerate(batches):
            part = slice(begin, begin + len(batch.pixels))
            last = number == len(batches) - 1
            with nullcontext() if last else without_sync():
                out = self._forward(model, batch, forward)
                tensors = [out[name].float() for name in features] + [out[name] for name in scalars]
                gradients: list[Tensor | None] = [_gradient(tensor)[part] for tensor in features.values()]
                # Every pass computes the scalars from the same parameters: each takes its share of their gradient.
                gradients += [_gradient(tensor) / len(batches) for tensor in scalars.values()]
                if self.name == "coca":
                    caption = self.caption(out, words)
                    total = total + caption.detach()
                    tensors.append(scale(caption))
                    gradients.append(None)
                torch.autograd.backward(tensors, gradients)
            begin = part.stop
        return total

    def _forward(
        self, model: nn.Module, batch: MicroBatch, forward: Callable[[], AbstractContextManager[None]]
    ) -> dict[str, Tensor]:
        # Draws follow from the step, not from a state that would have to be saved: both passes make the same.
        torch.manual_seed(batch.seed)
        with forward():
            return model(batch.pixels, batch.text)

    def _scalars(self) -> list[str]:
        return ["logit_scale", "logit_bias"] if self.name == "siglip" else ["logit_scale"]

    def _words(self, batches: Sequence[MicroBatch]) -> float:
        texts = [batch.text for batch in batches if isinstance(batch.text, Tensor)]  # CoCa's tower takes no other
        count = sum(int((tokens[:, 1:] != PAD_TOKEN).sum()) for tokens in texts)
        return max(self.ranks.sum(count)[0], 1.0) / self.ranks.size


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None, "backward of the contrastive loss reached every feature and scalar"
    return tensor.grad
