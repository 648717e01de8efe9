"""Section `evaluation`, and the suites of config/evaluation/: how every checkpoint is measured."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .base import SetName, Strict
from .training import Selector

EvaluationPrecision = Literal["fp32", "tf32", "bf16"]
"""Number formats of an evaluation."""


class Validation(Strict):
    """A small evaluation while a cell trains: the points of its learning curves."""

    datasets: list[SetName] = Field(min_length=1, description="sets of the suite")
    times: int = Field(10, ge=1, description="evaluations a run, evenly spread; the last is after the last step")
    max_samples: int = Field(1000, ge=10, description="the first images or pairs of a set that are used")


class Evaluation(Strict):
    """How cells are evaluated."""

    validation: Validation | None = Field(None, description="while training; null: at the end only")
    suite: str = Field(description="a file of config/evaluation/, without .yaml")
    batch_size: int = Field(256, ge=1, description="images or captions a forward pass")
    loss_batch_size: int = Field(250, ge=2, description="fixed batch of the held-out contrastive loss")
    precision: EvaluationPrecision = Field(
        "fp32",
        description="of the encoder: fp32 everywhere; tf32: products and convolutions of a GPU; bf16: autocast. Each "
        "metric says which, and `snakemake evaluation_noise` how far the others move it",
    )
    jobs: int = Field(
        1,
        ge=1,
        le=1000,
        description="jobs that share the evaluation of each cell, balanced by the seconds that sets took before; never "
        "part of a result",
    )
    learning_curve: int = Field(
        0,
        ge=0,
        le=100,
        description="points before its end at which each cell is evaluated in full, evenly spread: each as soon as "
        "training reaches it. Changing the number retrains the cells (to identical weights)",
    )


class LinearProbes(Strict):
    """How linear probes are trained and chosen; the values are those of the paper."""

    solver: Literal["adamw", "lbfgs"] = Field("adamw", description="lbfgs: logistic regression to its minimum")
    learning_rates: list[float] = Field([0.1, 0.01, 0.001], min_length=1, description="adamw only")
    weight_decays: list[float] = Field([0.0], min_length=1, description="lbfgs: penalties, each above 0")
    epochs: list[int] = Field([10, 20, 40], min_length=1, description="adamw only")
    batch_size: int = Field(256, ge=1)
    choose_on: Literal["validation", "test"] = Field(
        "validation", description="validation: a part carved from train; test: as the paper did, to reproduce it"
    )
    validation_share: float = Field(0.2, gt=0, lt=1, description="of each class of train")
    draws: int = Field(3, ge=1, description="draws of the examples of a k-shot probe; their mean is the value")
    seed: int = 0


class FineTuning(Strict):
    """How image towers are fine-tuned end to end; the fields are those of the paper's recipes."""

    cells: Selector = Field(Selector(), description="the cells that are fine-tuned; default: all")
    head: Literal["zeroshot", "linear"] = Field(
        "zeroshot",
        description="zeroshot: the frozen zero-shot classifier, which patching needs; linear: trained from it",
    )
    epochs: int = Field(10, ge=1)
    warmup_epochs: int = Field(1, ge=0)
    batch_size: int = Field(128, ge=1)
    precision: EvaluationPrecision = Field("fp32", description="as evaluation.precision, of the image tower")
    learning_rate: float = Field(1e-3, gt=0, description="peak, of the head and the uppermost layer")
    learning_rates: dict[str, float] = Field({}, description="peak rate by model, where it is not the default")
    layer_decay: float = Field(0.65, gt=0, le=1, description="the rate's factor from each layer to the one below")
    weight_decay: float = Field(0.05, ge=0)
    ema: float = Field(0.98, ge=0, lt=1, description="decay a step of the average of weights that is evaluated")
    label_smoothing: float = Field(0.1, ge=0, lt=1)
    stochastic_depth: float = Field(0.1, ge=0, lt=1, description="of the last block; linear from 0 at the first")
    gradient_clip: float = Field(3.0, gt=0)
    rand_augment: str | None = Field(None, description="timm's words, such as rand-m9-n2")
    random_erase: float = Field(0.0, ge=0, le=1, description="share of images with an erased patch")
    crop_scale: tuple[float, float] | None = Field(None, description="random resized crop, as in the recipe")
    mixing: list[float] = Field(
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0],
        description="patching: shares of the fine-tuned weights that are tried; [] for none",
    )
    control: SetName | None = Field(
        None, description="patching: a zero-shot set of the suite whose accuracy may fall by max_control_loss"
    )
    max_control_loss: float = Field(0.01, ge=0, description="as a fraction; the paper's is one percentage point")
    validation_share: float = Field(0.2, gt=0, lt=1, description="of each class of train, to choose the mixture on")
    seed: int = 0


class SuiteEntry(Strict):
    """One evaluation set, and the targets that get a law."""

    dataset: SetName = Field(description="`{source}-{held_out key}`, or clip-benchmark's name of a set")
    origin: Literal["held_out", "digits", "idx", "webdataset"] = Field(
        "held_out",
        description="held_out: kept out of one of the study's sources; digits: scikit-learn's; idx: a folder of the "
        "four files of MNIST or Fashion-MNIST; webdataset: a folder in clip-benchmark's layout",
    )
    folder: str | None = Field(
        None, description="of an idx or webdataset; default: the suite's, with the name for {dataset}"
    )
    metrics: list[str] = Field([], description="zero-shot metrics that get a law")
    linear_probe: list[Annotated[int, Field(ge=1)] | Literal["full"]] = Field(
        [], description="probes that get a law: examples a class, or full; needs a training split"
    )

    fine_tune: bool = Field(False, description="fine-tune end to end on its training split")
    chance: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="accuracy of guessing: cells that are not significantly above it are left out of laws of acc1 and "
        "mean_per_class_recall, and counted",
    )

    @model_validator(mode="after")
    def _has_a_target(self) -> SuiteEntry:
        if not self.metrics and not self.linear_probe and not self.fine_tune:
            raise ValueError(f"{self.dataset}: give metrics, linear_probe or fine_tune, or leave the set out")
        return self


class Aggregate(Strict):
    """The plain mean of one metric over sets, itself a target."""

    dataset: SetName = Field(description="name of the mean")
    metric: str
    of: list[str] = Field(min_length=2, description="datasets of the suite")


class Suite(Strict):
    """A file of config/evaluation/: which sets every checkpoint is evaluated on."""

    description: str = ""
    folder: str | None = Field(
        None,
        description="where such folders lie, with {dataset} for the name (its slash as a dash); environment variables "
        "are replaced",
    )
    datasets: list[SuiteEntry] = Field(min_length=1)
    on_unreadable: Literal["error", "skip"] = Field(
        "error", description="an image, label or caption that cannot be read: stop, or leave it out and count it"
    )
    linear_probe: LinearProbes = LinearProbes()
    fine_tuning: FineTuning = FineTuning()
    aggregates: list[Aggregate] = []

    def folder_of(self, entry: SuiteEntry) -> Path:
        """Folder of a webdataset."""
        template = entry.folder or self.folder or "{dataset}"
        return Path(os.path.expandvars(template.replace("{dataset}", entry.dataset.replace("/", "-")))).expanduser()


METRICS = {
    "zeroshot_classification": ("acc1", "acc5", "mean_per_class_recall"),
    "zeroshot_multilabel": ("mean_average_precision",),
    "zeroshot_retrieval": (
        *(f"{way}_retrieval_recall@{k}" for way in ("image", "text") for k in (1, 5, 10)),
        "contrastive_loss",
    ),
}
"""Metrics of each task, in clip-benchmark's names; `contrastive_loss` is ours."""


def probe_name(dataset: str, shots: int | str) -> str:
    """Name the target of a probe: `linear_probe/digits-10-shot`, `linear_probe/digits-full`."""
    return f"linear_probe/{dataset}-{'full' if shots == 'full' else f'{shots}-shot'}"
