"""End-to-end fine-tuning of a checkpoint's image tower on one labelled set, and patching.

Recipe fields are those of Cherti et al. 2022 (appendix on fine-tuning): AdamW with a rate that decays by layer, warm-up
and half a cosine, label smoothing, stochastic depth, RandAugment and random erasing by timm, an average of the weights.
With the frozen zero-shot head, weights between zero-shot and fine-tuned can be tried: patching (Ilharco et al. 2022).
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
from ..models.build import normalise
from ..models.checkpoint import read_state
from ..models.precision import number_format, tf32
from ..study.config.evaluation import FineTuning
from ..train.augment import crop_boxes, fit
from ..train.order import Order, key
from ..train.schedule import cosine
from ..train.signals import received
from ..train.state import StateFolder


@dataclass(frozen=True)
class LabelledImages:
    """Images and their classes. pixels: (n, size, size, 3) uint8. labels: (n,) int64."""

    pixels: Tensor
    labels: Tensor

    def rows(self, rows: Any) -> LabelledImages:
        """Select images."""
        index = rows if isinstance(rows, slice) else torch.as_tensor(rows)
        return LabelledImages(self.pixels[index], self.labels[index])


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


class FineTune:
    """A run of fine-tuning, continued from its saved states to the same bits."""

    def __init__(
        self,
        model: Classifier,
        train: LabelledImages,
        settings: FineTuning,
        learning_rate: float,
        folder: StateFolder,
        device: torch.device,
    ) -> None:
        self.model, self.train_images, self.settings, self.folder = model.to(device), train, settings, folder
        self.rate, self.device = learning_rate, device
        self.average = ModelEmaV3(self.model, decay=settings.ema)
        self.optimizer = torch.optim.AdamW(layer_groups(self.model, settings), lr=learning_rate)
        self.steps_an_epoch = -(-len(train.labels) // settings.batch_size)
        self.steps = settings.epochs * self.steps_an_epoch
        self.step = 0
        augment = settings.rand_augment
        self.augment: Callable[[Image.Image], Image.Image] | None = (
            rand_augment_transform(augment, {"translate_const": int(train.pixels.shape[1] * 0.45)}) if augment else None
        )
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
        while self.step < self.steps:
            if self.step and self.step % self.steps_an_epoch == 0 or received():
                self.save()
                if received():
                    return False
            rate = cosine(self.step, self.steps, warmup, self.rate)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["share"]
            images, labels = self._batch()
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

    def _batch(self) -> tuple[Tensor, Tensor]:
        """Draw one batch, (n, 3, size, size) normalised and (n,). All draws follow from (seed, epoch, image)."""
        settings, total = self.settings, len(self.train_images.labels)
        epoch, place = divmod(self.step, self.steps_an_epoch)
        begin = epoch * total + place * settings.batch_size
        positions = np.arange(begin, min(begin + settings.batch_size, (epoch + 1) * total))
        rows = Order([total], settings.seed).indices(positions)
        pixels = self.train_images.pixels[rows].numpy()
        size = pixels.shape[1]
        if settings.crop_scale is not None:
            sizes = np.full((len(rows), 2), size)
            boxes = crop_boxes(settings.crop_scale, settings.seed, np.full(len(rows), epoch), rows, sizes)
        augmented = []
        for number, row in enumerate(rows):
            # timm's transforms draw from Python's and numpy's own generators.
            seed = int(key(settings.seed, epoch, 6, int(row)))
            random.seed(seed)
            np.random.seed(seed % 2**32)
            image = Image.fromarray(pixels[number])
            if settings.crop_scale is not None:
                image = Image.fromarray(fit(image, size, boxes[number]))
            augmented.append(np.asarray(self.augment(image) if self.augment else image))
        images = normalise(torch.from_numpy(np.stack(augmented)))
        if settings.random_erase:
            for number in range(len(images)):
                random.seed(int(key(settings.seed, epoch, 7, int(rows[number]))))
                torch.manual_seed(int(key(settings.seed, epoch, 8, int(rows[number]))) >> 1)
                images[number] = self.erase(images[number])
        return images.to(self.device), self.train_images.labels[rows].to(self.device)


@torch.no_grad()
def accuracy(
    model: nn.Module,
    images: LabelledImages,
    device: torch.device,
    head: Tensor | None = None,
    batch_size: int = 256,
    precision: str = "fp32",
) -> float:
    """Measure top-1 accuracy. head: of other classes, in place of the model's own."""
    model.eval()
    right = 0
    for begin in range(0, len(images.labels), batch_size):
        part = images.rows(slice(begin, begin + batch_size))
        with number_format(precision, device):
            logits = model(normalise(part.pixels.to(device)), head)
        right += int((logits.argmax(dim=1).cpu() == part.labels).sum())
    return right / len(images.labels)


def patched(zeroshot: Classifier, tuned: nn.Module, mixing: list[float]) -> Iterator[tuple[float, Classifier]]:
    """Yield models of weights (1 - a) x zero-shot + a x fine-tuned for each a in `mixing`."""
    start, end = zeroshot.state_dict(), tuned.state_dict()
    for share in mixing:
        model = copy.deepcopy(zeroshot)
        model.load_state_dict({name: torch.lerp(start[name], end[name], share) for name in start})
        yield share, model
