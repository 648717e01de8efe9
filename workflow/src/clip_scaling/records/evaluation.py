"""Records of evaluations: metrics of checkpoints, and the tables that gather them."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from .base import Column, Record, Table
from .filenames import METRICS
from .made import Provenance


class Measured(BaseModel):
    """One number of an evaluation, with its 95 % interval over n images, captions or pairs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str = Field(description="evaluation set, probe, fine-tuning or mean")
    task: str = Field(description="a zero-shot task of clip-benchmark, `linear_probe`, `fine_tune` or `aggregate`")
    metric: str = Field(description="name of clip-benchmark, or `contrastive_loss`")
    value: float = Field(description="in the metric's own sense: a fraction, or nats for a loss")
    ci_low: float | None = Field(description="null where the number was imported")
    ci_high: float | None = Field(description="as ci_low")
    n: int | None = Field(description="images, captions or pairs that were measured")
    skipped: int = Field(0, description="images that could not be read and were left out")
    precision: str | None = Field(
        None,
        description="number format of the encoder: fp32, tf32 or bf16; absent in earlier results, which are fp32 (on a "
        "GPU with convolutions in TF32)",
    )
    halved_to: int | None = Field(
        None, description="images a forward pass, where the GPU's memory was full with the study's batch size"
    )


class Mixture(BaseModel):
    """Accuracies of one mixture of zero-shot and fine-tuned weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    share: float = Field(description="of the fine-tuned weights")
    validation: float = Field(description="accuracy on the part of train that the mixture is chosen on")
    control: float | None = Field(None, description="accuracy on the control set, where there is one")
    test: float = Field(description="accuracy on the test split")
    chosen: bool = False


class CheckpointMetrics(Record):
    """Metrics of one checkpoint. Written by `evaluate`, `evaluate_state` and `fine_tune`; read by `collect`,
    `gather_learning_curves`, exports and provenance."""

    FILE: ClassVar[str] = METRICS

    cell: str = Field(description="cell or trunk")
    state: Literal["trained", "diverged", "saved"] | None = Field(
        None, description="how training ended; a diverged cell has no metrics; saved: a state on the way"
    )
    step: int | None = Field(None, description="steps trained; saved states only")
    samples_seen: int | None = Field(None, description="samples trained; saved states only")
    checkpoint_sha256: str | None = Field(None, description="of the weights' file; not of fine-tuned models")
    sets_sha256: dict[str, str] | None = Field(None, description="hash of each evaluation set's manifest")
    metrics: list[Measured]
    mixtures: list[Mixture] | None = Field(None, description="fine-tuned models only: what patching tried")
    seconds: dict[str, dict[str, float]] | None = Field(
        None, description="by set: what encoding each split took, and `measure`, all that followed"
    )
    provenance: Provenance | None = None


class Piece(BaseModel):
    """What one job of an evaluation does of one set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    split: str | None = Field(None, description="null: all of the set, its metrics and probes; else blocks of a split")
    first: int = Field(0, description="first block")
    end: int | None = Field(None, description="the block after the last; null: to the end of the split")
    seconds: float = Field(description="by which the jobs are balanced, an estimate")


class EvaluationCut(Record):
    """How an evaluation is cut into jobs. Written by `cut_evaluation`; read by `evaluate_share`."""

    FILE: ClassVar[str] = "cut.json"
    IS_SEALED: ClassVar[bool] = False

    jobs: list[list[Piece]]


class EvaluationShare(Record):
    """What one job of an evaluation has put into the store. Written by `evaluate_share`; gone once all are done."""

    FILE: ClassVar[str] = "{job}-of-{jobs}.json"
    IS_SEALED: ClassVar[bool] = False

    pieces: list[Piece]
    seconds: float = Field(description="wall seconds of the pieces")


class OutsideMetrics(Record):
    """Metrics of a model that was not trained here, and what is known of its training.

    Written by scripts/evaluate_foreign.py; laid out as a table of metrics.
    """

    FILE: ClassVar[str] = "{checkpoint}.json"
    REMEDY: ClassVar[str] = "Correct what the result, or the table of --runs, says of it."

    cell: str = Field(description="name of the checkpoint")
    model: str = Field(description="open_clip's name of the architecture")
    data: str | None = Field(None, description="training data")
    unique_pairs: int | float | None = Field(None, description="distinct pairs of the data")
    samples_seen: int | float | None = Field(None, description="pairs that training passed over; may be nominal")
    seed: int = 0
    gmacs_per_sample: int | float | None = Field(None, description="forward compute of both towers, GMAC")
    compute_gmacs: int | float | None = Field(None, description="gmacs_per_sample x samples_seen, GMAC")
    learning_rate: float | None = Field(None, description="peak")
    global_batch_size: int | float | None = Field(None, description="pairs a step; may be nominal")
    checkpoint_sha256: str | None = Field(None, description="of the file of weights")
    preprocess: dict[str, Any] | None = Field(None, description="open_clip's `preprocess_cfg`")
    metrics: list[Measured]
    provenance: Provenance | None = None


_CELL = Column("cell", "cell")
_INTERVAL = [Column("ci_low", "lower end of the 95 % interval"), Column("ci_high", "upper end")]
_VALUE = Column("value", "in the metric's own sense: a fraction, or nats for a loss")
_N = Column("n", "images, captions or pairs that were measured")
_ABOUT = [Column("dataset", "evaluation set, probe, fine-tuning or mean"), Column("task", "what was asked of the set")]
_METRIC = Column("metric", "name of clip-benchmark, or `contrastive_loss`")

METRICS_TABLE = Table(
    "tables/metrics.{csv,parquet}",
    "Every metric of every cell, one row a number; a diverged cell has none.",
    [
        _CELL,
        Column("model", "open_clip's or the project's name of the architecture"),
        Column("data", "data set"),
        Column("unique_pairs", "distinct pairs of the data set"),
        Column("samples_seen", "pairs that training passed over, repeats counted"),
        Column("seed", "seed of training"),
        Column("gmacs_per_sample", "forward compute of both towers", "GMAC"),
        Column("compute_gmacs", "gmacs_per_sample x samples_seen", "GMAC"),
        *_ABOUT,
        _METRIC,
        _VALUE,
        *_INTERVAL,
        _N,
        Column("source", "training distribution, or where results were imported from"),
    ],
)
CELLS_TABLE = Table(
    "tables/cells.csv",
    "One row a cell, diverged ones too: how its training ended and what it took.",
    [
        _CELL,
        Column("state", "trained or diverged"),
        Column("steps", "optimizer steps"),
        Column("unique_pairs", "distinct pairs of the data set"),
        Column("samples_seen", "pairs that training passed over, repeats counted"),
        Column("epochs", "samples_seen / unique_pairs"),
        Column("samples_trained", "pairs that this cell trained on, without those of a trunk it branched off"),
        Column("final_loss", "mean training loss of the last tenth of the steps", "nats"),
        Column("seconds", "time of training, all attempts together", "s"),
        Column("ranks", "processes"),
        Column("events", "number of events: spikes, rollbacks"),
        Column("attempts", "number of jobs that trained it"),
        Column("lost_samples", "pairs that could not be read"),
        Column("seen_digest", "digest of the order of samples"),
        Column("weights_sha256", "hash of the weights"),
    ],
)
LEARNING_CURVES_TABLE = Table(
    "tables/learning_curves.csv",
    "Every metric of cells and trunks on their way, and of cells at their end.",
    [
        Column("run", "cell or trunk"),
        Column("samples_seen", "pairs that training had passed over"),
        *_ABOUT,
        _METRIC,
        _VALUE,
        *_INTERVAL,
        _N,
    ],
)
LEARNING_RATES_TABLE = Table(
    "tables/learning_rates.csv",
    "The search of learning rates, one row a (model, rate).",
    [
        Column("model", "open_clip's or the project's name of the architecture"),
        Column("data", "data set"),
        Column("samples_seen", "pairs that training passed over"),
        Column("global_batch_size", "pairs a step"),
        Column("learning_rate", "peak"),
        Column("final_loss", "mean training loss of the last tenth of the steps", "nats"),
        Column("chosen", "whether it is the model's lowest loss"),
    ],
)
OPTIMAL_RATES_TABLE = Table(
    "tables/optimal_learning_rates.csv",
    "The learning rate of least loss of each model, by a parabola through the search; empty where it was not found.",
    [
        Column("model", "open_clip's or the project's name of the architecture"),
        Column("learning_rate", "vertex of the parabola in log2 of the rate"),
        Column("low", "lower end of the 95 % interval, from repeats"),
        Column("high", "upper end"),
        Column("final_loss", "at the vertex; at the best rate tried where none was found", "nats"),
        Column("lowest_loss_rate", "the rate tried whose loss is least"),
        Column("rates", "number of rates tried"),
        Column("diverged", "of these, rates with a run that diverged"),
        Column("verdict", "`found`, or why not and which rates to add"),
    ],
)
EVALUATION_NOISE_TABLE = Table(
    "tables/evaluation_noise.csv",
    "How far each metric of one checkpoint moves under other number formats and another batch size.",
    [
        _CELL,
        _ABOUT[0],
        _METRIC,
        Column("value", "in fp32 with the study's batch size, in the metric's own sense"),
        *_INTERVAL,
        _N,
        Column("change_amp_bf16", "value under bfloat16 autocast minus value"),
        Column("change_tf32", "value with TF32 products and convolutions minus value; empty on a CPU"),
        Column("change_batch_size", "value with other_batch_size minus value"),
        Column("other_batch_size", "images or captions a forward pass"),
    ],
)
CONTAMINATION_TABLE = Table(
    "tables/contamination.csv",
    "What training data repeat of the evaluation sets, and each metric with those images left out.",
    [
        _CELL,
        Column("data", "data set that the cell was trained on"),
        _ABOUT[0],
        _METRIC,
        Column("n", "images of the set"),
        Column("overlapping", "images whose perceptual hash is among those of the training images"),
        Column("overlap_share", "overlapping / n"),
        Column("value", "on all images, in the metric's own sense"),
        Column("value_without_overlap", "with the overlapping images left out; empty where nothing is left"),
        Column("ci_low_without_overlap", "lower end of its 95 % interval"),
        Column("ci_high_without_overlap", "upper end"),
    ],
)
