"""Losses in tiles are open_clip's losses, and hold no matrix of logits."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from open_clip.loss import ClipLoss, SigLipLoss
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from clip_scaling.train.distributed import Ranks
from clip_scaling.train.objective import Objective
from clip_scaling.train.tiles import Product, tf32_product

from .conftest import ALONE

Loss = Callable[[dict[str, Tensor]], Tensor]


def features(count: int, scale: float, closeness: float = 0.2, width: int = 16) -> dict[str, Tensor]:
    """Unit vectors of `count` pairs, as a model gives them. closeness: 0, unrelated pairs; 1, equal ones."""
    generator = torch.Generator().manual_seed(count)
    image, noise = torch.randn(2, count, width, generator=generator)
    text = closeness * image + (1 - closeness) * noise
    out = {"image_features": F.normalize(image, dim=-1), "text_features": F.normalize(text, dim=-1)}
    out |= {"logit_scale": torch.tensor(scale), "logit_bias": torch.tensor(-3.0)}
    return {name: tensor.requires_grad_() for name, tensor in out.items()}


def in_tiles(name: str, tile: int, product: Product = torch.matmul, ranks: Ranks = ALONE) -> Loss:
    return Objective(name, ranks, product, tile).contrastive


def whole(name: str, dtype: torch.dtype = torch.float32) -> Loss:
    """open_clip's loss."""

    def loss(out: dict[str, Tensor]) -> Tensor:
        cast = {key: tensor.to(dtype) for key, tensor in out.items()}
        if name == "clip":
            del cast["logit_bias"]
        return (SigLipLoss() if name == "siglip" else ClipLoss())(**cast)

    return loss


def gradients(loss: Loss, out: dict[str, Tensor]) -> tuple[Tensor, list[Tensor]]:
    """A loss, and its gradients, times 3: what comes after the loss has a gradient too."""
    found = loss(out)
    made = torch.autograd.grad(3 * found, [*out.values()], allow_unused=True)
    return found.detach(), [tensor for tensor in made if tensor is not None]


def distance(found: list[Tensor], expected: list[Tensor]) -> float:
    """The largest distance of a gradient from what is expected, relative to its norm."""
    assert len(found) == len(expected)
    return max((a - b).norm().item() / b.norm().item() for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("name", ["clip", "siglip"])
@pytest.mark.parametrize("scale", [1.0, 14.3, 100.0])
@pytest.mark.parametrize(("count", "tile"), [(24, 8), (23, 8), (17, 16), (5, 1)])
def test_a_loss_in_tiles_is_the_whole_loss(name: str, scale: float, count: int, tile: int) -> None:
    out = features(count, scale)
    expected, expected_gradients = gradients(whole(name, torch.float64), out)
    plain, plain_gradients = gradients(whole(name), out)
    found, found_gradients = gradients(in_tiles(name, tile), out)
    # A logit of `scale` has that many units in the last place; the whole loss in fp32 is as far from the exact one.
    rounding = 2**-22 * max(scale, 8.0)
    assert found.item() == pytest.approx(expected.item(), rel=1e-6, abs=rounding)
    bound = max(3 * distance(plain_gradients, expected_gradients), rounding)
    assert distance(found_gradients, expected_gradients) <= bound


def test_pairs_that_are_learned_have_a_loss_of_zero_and_no_gradient() -> None:
    out = features(12, 100.0, closeness=1.0, width=64)
    found, made = gradients(in_tiles("clip", 4), out)
    assert 0 <= found.item() < 1e-6
    assert all(gradient.isfinite().all() and gradient.abs().max() < 1e-3 for gradient in made)


def test_a_batch_that_fits_one_tile_has_the_bits_of_open_clips_loss() -> None:
    for name in ("clip", "siglip"):
        expected, expected_gradients = gradients(whole(name), features(16, 14.3))
        found, found_gradients = gradients(in_tiles(name, 16), features(16, 14.3))
        assert torch.equal(found, expected)
        assert all(torch.equal(a, b) for a, b in zip(found_gradients, expected_gradients, strict=True))


@pytest.mark.parametrize("name", ["clip", "siglip"])
@pytest.mark.parametrize("closeness", [0.05, 0.15, 0.3])
def test_products_in_tf32_keep_the_gradient_within_two_thousandths(name: str, closeness: float) -> None:
    # At the highest scale there is, early, in the middle and late in training; docs/training.md states the bound.
    out = features(512, 100.0, closeness, width=256)
    expected, expected_gradients = gradients(whole(name, torch.float64), out)
    found, made = gradients(in_tiles(name, 128, tf32_product), out)
    assert found.item() == pytest.approx(expected.item(), rel=1e-3, abs=1e-3)
    assert distance(made, expected_gradients) < 2e-3


def test_factors_are_rounded_to_ten_bits() -> None:
    one = torch.ones(1, 1)
    for factor, rounded in ((1 + 2**-10, 1 + 2**-10), (1 + 2**-12, 1.0), (1 + 2**-11, 1 + 2**-10), (-3.0, -3.0)):
        assert tf32_product(one * factor, one).item() == rounded


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["clip", "siglip"])
@pytest.mark.parametrize(("product", "bound"), [(torch.matmul, 2e-5), (tf32_product, 2e-3)])
def test_a_gpu_makes_the_gradient_of_the_cpu(name: str, product: Product, bound: float) -> None:
    out = features(300, 100.0, 0.15, width=64)
    _, expected = gradients(whole(name, torch.float64), out)
    there = {key: tensor.detach().cuda().requires_grad_() for key, tensor in out.items()}
    _, found = gradients(in_tiles(name, 64, product), there)
    assert distance([gradient.cpu() for gradient in found], expected) < bound


class Memory(TorchDispatchMode):
    """Counts the bytes of tensors that are alive, and the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.alive = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, (tuple, list)) else [found]:
            if isinstance(tensor, Tensor):
                self._count(tensor.untyped_storage())
        return found

    def _count(self, storage: torch.UntypedStorage) -> None:
        if storage.data_ptr() in self.known:
            return
        self.known.add(storage.data_ptr())
        self.alive += storage.nbytes()
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._forget, storage.data_ptr(), storage.nbytes())

    def _forget(self, place: int, size: int) -> None:
        self.known.discard(place)
        self.alive -= size


def peak(loss: Loss, count: int) -> int:
    """The most bytes alive at once in forward and backward of a batch, beside its features."""
    out = features(count, 14.3)
    with Memory() as memory:
        gradients(loss, out)
    return memory.peak


@pytest.mark.parametrize("name", ["clip", "siglip"])
def test_memory_grows_with_the_batch_and_not_with_its_square(name: str) -> None:
    few, many = peak(in_tiles(name, 32), 512), peak(in_tiles(name, 32), 2048)
    assert many < 5 * few
    assert peak(whole(name), 2048) > 2048**2 * 4 > 10 * many
