"""`grid`, `recipe` and `sweep`: which cells there are, and how each is trained."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from ..grid import Cell
from .base import Count, Strict


class Selector(Strict):
    """Matches the cells that agree in every given key; a key may hold one value or a list."""

    model: str | list[str] | None = None
    data: str | list[str] | None = None
    samples_seen: Count | list[Count] | None = None
    seed: int | list[int] | None = None

    def matches(self, cell: Cell) -> bool:
        """True where every given key agrees with the cell's."""
        for key in ("model", "data", "samples_seen", "seed"):
            wanted = getattr(self, key)
            if wanted is not None and getattr(cell, key) not in (wanted if isinstance(wanted, list) else [wanted]):
                return False
        return True


class GridCell(Strict):
    """One cell by hand, with a recipe and resources of its own where it needs them."""

    model: str
    data: str
    samples_seen: Count
    seed: int = 0
    recipe: dict[str, Any] = Field({}, description="fields of the recipe for this cell: an override after all others")
    train: dict[str, Any] = Field({}, description="fields of resources.train for this cell, likewise")


class Grid(Strict):
    """Every combination of the axes, less `exclude`, plus `include`."""

    models: list[str] = Field([], description="open_clip model names, or files in config/models/")
    data: list[str] = Field([], description="keys of `data`")
    samples_seen: list[Count] | None = Field(None, min_length=1, description="budgets in samples, e.g. [10K, 100K]")
    epochs: list[int] | None = Field(
        None, min_length=1, description="budgets in epochs over the unique pairs, instead of samples_seen"
    )
    seeds: list[int] = Field([0], min_length=1)
    exclude: list[Selector] = Field([], description="cells to leave out")
    include: list[GridCell] = Field([], description="cells to add")

    @model_validator(mode="after")
    def _one_budget_axis(self) -> Grid:
        axes = {"models": bool(self.models), "data": bool(self.data)}
        axes["samples_seen or epochs"] = bool(self.samples_seen or self.epochs)
        if self.include and not any(axes.values()):
            return self  # every cell is given by hand
        missing = [axis for axis, is_given in axes.items() if not is_given and axis in ("models", "data")]
        if missing:
            raise ValueError(f"{' and '.join(missing)}: name at least one (or give all cells by include)")
        if (self.samples_seen is None) == (self.epochs is None):
            raise ValueError("give exactly one of samples_seen and epochs")
        return self


class Instability(Strict):
    """What is done about a loss or gradient that is not finite, and about a spike of the loss."""

    policy: Literal["stop", "skip", "rollback"] = Field(
        "stop",
        description="stop: the cell ends as `diverged`; skip: that batch makes no step; "
        "rollback: back to the last saved state, and on with the batches after the spike",
    )
    max_events: int = Field(10, ge=0, description="skips or rollbacks in one run; one more ends it as `diverged`")
    spike_factor: float | None = Field(
        20.0,
        gt=0,
        description="a spike is a loss above the recent median by this many robust standard deviations (1.4826 MAD); "
        "null: only what is not finite counts",
    )
    spike_nats: float = Field(
        0.5,
        ge=0,
        description="and by this much at least, in nats: pairs known by heart give losses near zero, whose spread says "
        "nothing of a harder batch",
    )
    window: int = Field(100, ge=10, description="recent losses, in steps, that the median is taken of")


GPU_PRECISIONS = ("amp", "tf32")
"""Of recipe.precision, those that a CPU cannot do."""


class Recipe(Strict):
    """How a cell is trained. All of it is tracked: a change retrains the cells that it touches."""

    trainer: Literal["clip_scaling", "open_clip_train"] = Field(
        "clip_scaling", description="open_clip_train: run the cell through the peer, for comparison (docs/training.md)"
    )
    objective: Literal["clip", "siglip", "coca"] = Field(
        "clip", description="InfoNCE (CLIP), pairwise sigmoid (SigLIP), or InfoNCE with captioning (CoCa)"
    )
    global_batch_size: int = Field(256, ge=2, description="pairs a step, over all ranks")
    learning_rate: float = Field(1e-3, gt=0, description="peak of AdamW's learning rate")
    schedule: Literal["cosine", "wsd"] = Field(
        "cosine",
        description="cosine: one run a budget, as the paper; wsd: warm-up, constant, cooldown: one trunk serves all "
        "budgets of a (model, data, seed)",
    )
    warmup_fraction: float | None = Field(
        0.1, ge=0, lt=1, description="linear warm-up, share of all steps; cosine only"
    )
    warmup_steps: int | None = Field(
        None, ge=0, description="linear warm-up in steps, instead of warmup_fraction; wsd needs it"
    )
    cooldown_fraction: float = Field(0.2, gt=0, lt=1, description="wsd: share of a budget's steps that cools down")
    cooldown_shape: Literal["1-sqrt", "linear"] = Field("1-sqrt", description="wsd: the rate's way from peak to 0")
    weight_decay: float = Field(0.2, ge=0, description="not applied to gains, biases and the logit scale")
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.98, ge=0, lt=1)
    eps: float = Field(1e-6, gt=0)
    gradient_clip: float | None = Field(1.0, gt=0, description="maximum norm of the gradient; null for none")
    precision: Literal["fp32", "tf32", "amp", "amp_bf16"] = Field(
        "fp32", description="amp: fp16 with a gradient scaler (CUDA only); amp_bf16: bfloat16; weights stay fp32"
    )
    deterministic: bool = Field(
        True,
        # What it was before there was a choice: recipes of finished cells stay as they are.
        exclude_if=lambda value: value is True,
        description="on a GPU choose kernels that give the same bits in every run, continued ones too (docs/gpu.md); a "
        "CPU has no others",
    )
    patch_dropout: float = Field(0.0, ge=0, lt=1, description="share of image patches left out in training")
    crop_scale: tuple[float, float] | None = Field(
        None, description="random resized crop: bounds of the area's share, open_clip's are [0.9, 1.0]; null: none"
    )
    sampling: Literal["shuffle", "replacement"] = Field(
        "shuffle", description="shuffle: each pair once an epoch; replacement: draws with replacement, as the paper's"
    )
    virtual_epoch: Count | None = Field(
        None, description="samples an epoch under sampling: replacement; default: the number of pairs"
    )
    readers: int | None = Field(
        None,
        ge=1,
        description="virtual readers, dealt to ranks and workers, each of which walks whole shards: for streams from "
        "disks and URLs; a multiple of the ranks; null: a full shuffle, which reads at random",
    )
    shuffle_window: int = Field(4096, ge=1, description="pairs that a virtual reader shuffles at a time")
    max_lost_fraction: float = Field(
        0.001, ge=0, lt=1, description="share of samples that may be unreadable before the run ends"
    )
    instability: Instability = Instability()

    @model_validator(mode="after")
    def _fits_together(self) -> Recipe:
        if self.schedule == "wsd" and self.warmup_steps is None:
            raise ValueError("schedule wsd needs warmup_steps: its trunk serves all budgets, so a share has no meaning")
        if self.virtual_epoch is not None and self.sampling != "replacement":
            raise ValueError("virtual_epoch needs sampling: replacement; a shuffled epoch is all pairs once")
        if self.crop_scale is not None and not 0 < self.crop_scale[0] <= self.crop_scale[1] <= 1:
            raise ValueError(f"crop_scale {list(self.crop_scale)} must be two shares, the smaller first, within (0, 1]")
        return self

    def of_trunk(self) -> dict[str, Any]:
        """What a trunk follows from: all but the cooldown."""
        return self.model_dump(exclude={"cooldown_fraction", "cooldown_shape"})


class RecipeOverride(Selector):
    """Recipe fields for the cells that match the selector."""

    recipe: dict[str, Any] = Field(min_length=1, description="fields of the recipe, as under defaults")


class Recipes(Strict):
    """Defaults, then overrides in order: a later one wins."""

    defaults: Recipe = Recipe()
    overrides: list[RecipeOverride] = []


class Sweep(Strict):
    """The recorded search behind the learning rates: `snakemake sweep` trains each model at each rate."""

    data: str = Field(
        description="key of `data`; larger than samples_seen, so that the training loss is that of unseen pairs"
    )
    samples_seen: Count
    learning_rates: list[float] = Field(min_length=2)
    seed: int = 1000


RECIPE_VERSION = 3
"""Moves only when the meaning of training changes: every cell is then trained again."""
