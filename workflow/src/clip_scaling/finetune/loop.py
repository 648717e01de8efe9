"""End-to-end fine-tuning of a checkpoint's image tower on one labelled set, and patching.

Recipe fields are those of Cherti et al. 2022 (appendix on fine-tuning): AdamW with a rate that decays by layer, warm-up
and half a cosine, label smoothing, stochastic depth, RandAugment and random erasing by timm, an average of the weights.
With the frozen zero-shot head, weights between zero-shot and fine-tuned can be tried: patching (Ilharco et al. 2022).
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from timm.data.auto_augment import rand_augment_transform
from timm.data.random_erasing import RandomErasing
from timm.layers import DropPath
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from ..errors import EvaluationError
from ..evaluate.ahead import ahead
from ..models.build import normalise
from ..models.checkpoint import read_state
from ..models.precision import number_format, tf32
from ..study.config.evaluation import FineTuning
from ..train.augment import crop_boxes, fit
from ..train.order import Indices, Order, key
from ..train.schedule import cosine
from ..train.signals import received
from ..train.state import StateFolder
from .images import Images, InOrder, Pixels, made_batches


class Classifier(nn.Module):
    """An image tower and a linear head over its unit features, which starts as the zero-shot classifier.

    head: (classes, dim) unit vectors. scale: the model's inverse temperature.
    """

    def __init__(self, tower: Any, head: Tensor, scale: float, settings: FineTuning) -> None:
        super().__init__()
        self.tower = copy.deepcopy(tower)
        self.head = nn.Parameter(scale * head.clone(), requires_grad=settings.head == "linear")
        blocks = list(self.tower.transformer.resblocks)
        for number, block in enumerate(blocks):
            share = settings.stochastic_depth * number / max(1, len(blocks) - 1)
            block.ls_1 = nn.Sequential(block.ls_1, DropPath(share))
            block.ls_2 = nn.Sequential(block.ls_2, DropPath(share))

    def forward(self, images: Tensor, head: Tensor | None = None) -> Tensor:
        """(n, 3, size, size) normalised images -> (n, classes) logits. head: of other classes, in place of its own."""
        return F.normalize(self.tower(images), dim=-1) @ (self.head if head is None else head).T


def layer_groups(model: Classifier, settings: FineTuning) -> list[dict[str, Any]]:
    """Group parameters by their `share` of the peak rate: 1 for the head, times `layer_decay` a layer below it."""
    layers = len(model.tower.transformer.resblocks)
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if ".resblocks." in name:
            depth = int(name.split(".resblocks.")[1].split(".")[0]) + 1
        else:
            depth = layers + 1 if name == "head" or ".ln_post" in name or name.endswith("tower.proj") else 0
        decayed = parameter.ndim >= 2
        group = groups.setdefault(
            (depth, decayed),
            {
                "params": [],
                "share": settings.layer_decay ** (layers + 1 - depth),
                "weight_decay": settings.weight_decay if decayed else 0.0,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


class Drawn:
    """Batches of training, augmented. All draws follow from (seed, epoch, image)."""

    def __init__(self, images: Images, settings: FineTuning) -> None:
        self.images, self.settings, self.size, self.batch_size = images, settings, images.size, settings.batch_size
        self.steps_an_epoch = -(-len(images.labels) // settings.batch_size)
        augment = settings.rand_augment
        self.augment: Callable[[Image.Image], Image.Image] | None = (
            rand_augment_transform(augment, {"translate_const": int(images.size * 0.45)}) if augment else None
        )

    def __len__(self) -> int:
        return self.settings.epochs * self.steps_an_epoch

    def rows(self, number: int) -> Indices:
        """Which images a step takes."""
        total = len(self.images.labels)
        epoch, place = divmod(number, self.steps_an_epoch)
        begin = epoch * total + place * self.batch_size
        positions = np.arange(begin, min(begin + self.batch_size, (epoch + 1) * total))
        return Order([total], self.settings.seed).indices(positions)

    def count(self, number: int) -> int:
        """Images of a step."""
        total = len(self.images.labels)
        return min(self.batch_size, total - number % self.steps_an_epoch * self.batch_size)

    def pixels(self, number: int, rows: range) -> Iterator[Pixels]:
        """Pixels of some rows of a step's batch."""
        epoch, chosen = number // self.steps_an_epoch, self.rows(number)[rows.start : rows.stop : rows.step]
        return (self._drawn(int(row), epoch) for row in chosen)

    def _drawn(self, row: int, epoch: int) -> Pixels:
        pixels, scale = self.images.image(row), self.settings.crop_scale
        # timm's transforms draw from Python's and numpy's own generators.
        seed = int(key(self.settings.seed, epoch, 6, row))
        random.seed(seed)
        np.random.seed(seed % 2**32)
        if scale is not None:
            sizes = np.full((1, 2), self.size)
            boxes = crop_boxes(scale, self.settings.seed, np.full(1, epoch), np.array([row]), sizes)
            pixels = fit(Image.fromarray(pixels), self.size, boxes[0])
        return pixels if self.augment is None else np.asarray(self.augment(Image.fromarray(pixels)))


class FineTune:
    """A run of fine-tuning, continued from its saved states to the same bits. workers: processes that draw batches."""

    def __init__(
        self,
        model: Classifier,
        drawn: Drawn,
        learning_rate: float,
        folder: StateFolder,
        device: torch.device,
        workers: int = 0,
    ) -> None:
        settings, train = drawn.settings, drawn.images
        self.drawn, self.workers = drawn, workers
        self.model, self.train_images, self.settings, self.folder = model.to(device), train, settings, folder
        self.rate, self.device = learning_rate, device
        self.average = ModelEmaV3(self.model, decay=settings.ema)
        self.optimizer = torch.optim.AdamW(layer_groups(self.model, settings), lr=learning_rate)
        self.steps_an_epoch = drawn.steps_an_epoch
        self.steps = len(drawn)
        self.step = 0
        self.erase = RandomErasing(settings.random_erase, device="cpu")

    def run(self) -> bool:
        """Train to the end; False where a signal ended it, with its state saved."""
        with tf32(self.settings.precision == "tf32"):
            return self._run()

    def _run(self) -> bool:
        found = self.folder.newest_whole()
        if found is not None:
            state = read_state(found.path)
            self.model.load_state_dict(state["model"])
            self.average.module.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.step = state["step"]
        warmup = self.settings.warmup_epochs * self.steps_an_epoch
        self.model.train()
        with closing(self._batches()) as batches:
            return self._steps(batches, warmup)

    def _batches(self) -> Generator[Tensor]:
        is_for_gpu = self.device.type == "cuda"
        made = made_batches(self.drawn, self.step, self.workers, is_for_gpu=is_for_gpu)
        # Erasing works on the CPU, and gets its pixels there.
        return made if self.settings.random_erase else ahead(made, self.device)

    def _steps(self, batches: Iterator[Tensor], warmup: int) -> bool:
        while self.step < self.steps:
            if self.step and self.step % self.steps_an_epoch == 0 or received():
                self.save()
                if received():
                    return False
            rate = cosine(self.step, self.steps, warmup, self.rate)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["share"]
            images, labels = self._finished(next(batches))
            torch.manual_seed(int(key(self.settings.seed, self.step)) >> 1)
            with number_format(self.settings.precision, self.device):
                logits = self.model(images)
            loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.settings.label_smoothing)
            if not math.isfinite(loss.item()):
                raise EvaluationError(
                    f"fine-tuning: the loss is {loss.item()} at step {self.step + 1} of {self.steps}. "
                    "Lower fine_tuning.learning_rate of the suite."
                )
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_clip)
            self.optimizer.step()
            self.average.update(self.model, step=self.step)
            self.step += 1
        return True

    def save(self) -> None:
        """Write a state."""
        parts = {"model": self.model.state_dict(), "average": self.average.module.state_dict()}
        self.folder.save(self.step, parts | {"optimizer": self.optimizer.state_dict(), "step": self.step})

    def _finished(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Make a batch of drawn pixels an input: (n, 3, size, size) normalised and (n,) classes, on the device."""
        rows, epoch = self.drawn.rows(self.step), self.step // self.steps_an_epoch
        labels = self.train_images.labels[rows].to(self.device)
        if not self.settings.random_erase:
            return normalise(pixels.to(self.device)), labels
        images = normalise(pixels)
        for number in range(len(images)):
            random.seed(int(key(self.settings.seed, epoch, 7, int(rows[number]))))
            torch.manual_seed(int(key(self.settings.seed, epoch, 8, int(rows[number]))) >> 1)
            images[number] = self.erase(images[number])
        return images.to(self.device), labels


@torch.no_grad()
def accuracy(
    model: nn.Module,
    images: Images,
    device: torch.device,
    head: Tensor | None = None,
    precision: str = "fp32",
    workers: int = 0,
) -> float:
    """Measure top-1 accuracy. head: of other classes, in place of the model's own. workers: processes that decode."""
    model.eval()
    right = begin = 0
    made = made_batches(InOrder(images, 256), 0, workers, is_for_gpu=device.type == "cuda")
    with closing(ahead(made, device)) as batches:
        for pixels in batches:
            with number_format(precision, device):
                logits = model(normalise(pixels.to(device)), head)
            right += int((logits.argmax(dim=1).cpu() == images.labels[begin : begin + len(pixels)]).sum())
            begin += len(pixels)
    return right / len(images.labels)


def patched(zeroshot: Classifier, tuned: nn.Module, mixing: list[float]) -> Iterator[tuple[float, Classifier]]:
    """Yield models of weights (1 - a) x zero-shot + a x fine-tuned for each a in `mixing`."""
    start, end = zeroshot.state_dict(), tuned.state_dict()
    for share in mixing:
        model = copy.deepcopy(zeroshot)
        model.load_state_dict({name: torch.lerp(start[name], end[name], share) for name in start})
        yield share, model
