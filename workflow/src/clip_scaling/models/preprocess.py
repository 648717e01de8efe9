"""From an image to a model's input, in open_clip's terms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from open_clip.transform import MaybeConvertMode, PreprocessCfg, image_transform_v2
from PIL import Image
from torch import Tensor

from ..errors import EvaluationError
from .build import PREPROCESS, normalise


def _are_numbers(value: Any, count: int, kind: type = float) -> bool:
    kinds = (int,) if kind is int else (int, float)
    return isinstance(value, list | tuple) and len(value) == count and all(type(each) in kinds for each in value)


FIELDS: dict[str, Callable[[Any], bool]] = {
    "size": lambda value: (type(value) is int and value > 0) or (_are_numbers(value, 2, int) and min(value) > 0),
    "mean": lambda value: _are_numbers(value, 3),
    "std": lambda value: _are_numbers(value, 3),
    "interpolation": lambda value: value in ("bicubic", "bilinear", "random"),
    "resize_mode": lambda value: value in ("shortest", "longest", "squash"),
    "fill_color": lambda value: type(value) is int or _are_numbers(value, 3, int),
}
"""What open_clip's fields may be."""


@dataclass(frozen=True)
class Preprocess:
    """open_clip's `preprocess_cfg`, with the defaults of training here. size: pixels a side."""

    size: int
    mean: tuple[float, ...] = tuple(PREPROCESS["mean"])
    std: tuple[float, ...] = tuple(PREPROCESS["std"])
    interpolation: str = PREPROCESS["interpolation"]
    resize_mode: str = "shortest"
    fill_color: int = 0

    @classmethod
    def of(cls, config: dict[str, Any]) -> Preprocess:
        """Take a `preprocess_cfg`. EvaluationError where a field is odd, or the image not square."""
        for name, is_fine in FIELDS.items():
            if not is_fine(config[name]):
                raise EvaluationError(f"{config[name]!r} is no value of it", place=f"preprocess_cfg.{name}")
        size = config["size"]
        height, width = size if isinstance(size, list | tuple) else (size, size)
        if height != width:
            raise EvaluationError(f"{size}: only square images are evaluated", place="preprocess_cfg.size")
        return cls(
            height,
            tuple(config["mean"]),
            tuple(config["std"]),
            config["interpolation"],
            config["resize_mode"],
            config["fill_color"],
        )

    @cached_property
    def _steps(self) -> list[Callable[[Image.Image], Image.Image]]:
        steps = image_transform_v2(PreprocessCfg(**self.fields()), is_train=False).transforms
        # What follows turns the picture into the tensor, which is done here for whole batches.
        return steps[: next(place for place, step in enumerate(steps) if isinstance(step, MaybeConvertMode))]

    def fields(self) -> dict[str, Any]:
        """Return the `preprocess_cfg` as plain JSON values."""
        return {
            "size": self.size,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "resize_mode": self.resize_mode,
            "fill_color": self.fill_color,
        }

    def pixels(self, image: Image.Image) -> Tensor:
        """Resize and crop first, then make RGB, as open_clip does: (size, size, 3) uint8."""
        if image.size != (self.size, self.size):
            for step in self._steps:
                image = step(image)
        content = bytearray(image.convert("RGB").tobytes())
        return torch.frombuffer(content, dtype=torch.uint8).reshape(self.size, self.size, 3)

    def normalise(self, pixels: Tensor) -> Tensor:
        """Normalise (batch, size, size, 3) uint8 -> (batch, 3, size, size) float32."""
        return normalise(pixels, self.mean, self.std)
