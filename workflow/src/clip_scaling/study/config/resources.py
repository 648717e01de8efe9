"""`resources`, `budget` and `costs`: where jobs run and what they may cost; never part of a result."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ...machine.gpus import visible_gpus
from ..grid import Cell
from .base import Strict
from .training import Selector


class TrainResources(Strict):
    """Where a training job runs, and how its work is cut up. Never part of a name or of what is tracked."""

    threads: int = Field(1, ge=1, description="CPU threads a rank")
    mem_mb: int | None = Field(
        None, ge=100, description="memory a node, MB; default: by the model, the batch, the workers and the GPUs"
    )
    runtime_minutes: int = Field(60, ge=1, description="time limit; a run that meets it is saved and continued")
    nodes: int = Field(1, ge=1)
    gpus: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="GPUs a node, one rank each; auto: one where the machine has one, else the CPU; 0: the CPU",
    )
    cells_per_gpu: Literal["auto", 1, 2, 3, 4, 6, 12] = Field(
        "auto", description="cells of one GPU that train on the same GPU at a time; auto: by the model's size"
    )
    gpu_kind: str | None = Field(
        None, description="such as A100-40GB: for the plan's estimates of time and memory; default: this machine's"
    )
    tasks_per_node: int | None = Field(None, ge=1, description="ranks a node; default: its GPUs, or 1 without any")
    parallel: Literal["ddp", "fsdp2"] = Field("ddp", description="fsdp2: for models that one GPU cannot hold")
    accumulate: int = Field(1, ge=1, description="micro-batches a step; the contrastive batch stays whole")
    gradient_checkpointing: bool = Field(False, description="less memory for one more forward pass")
    compile: bool | Literal["auto"] = Field(
        "auto",
        description="torch.compile; auto: on a GPU, where by the plan's estimate it saves more time than it takes "
        "before the first step",
    )
    input: Literal["packed", "stream"] = Field(
        "packed", description="packed: decoded once, mapped into memory; stream: decoded by workers from the tars"
    )
    workers: int = Field(0, ge=0, description="processes a rank that decode a stream; 0: the rank itself")
    checkpoint_minutes: float = Field(15, gt=0, description="minutes between saved states")
    hang_minutes: float | None = Field(
        30,
        gt=0,
        description="minutes without a step (fifty times the longest step, if that is more; four times as long before "
        "the first) after which a run ends with its stacks in the log and exit code 75; null: never",
    )
    keep_states: int = Field(2, ge=1, description="saved states kept a cell")
    max_state_gb: float | None = Field(None, gt=0, description="cap on a cell's saved states; the newest always stays")
    wandb_project: str | None = Field(None, description="log to Weights & Biases too (needs the package wandb)")

    @property
    def gpus_per_node(self) -> int:
        """GPUs a node. For `auto` one a rank where this machine has that many, else none."""
        if self.gpus != "auto":
            return self.gpus
        wanted = self.tasks_per_node or 1
        return wanted if wanted <= len(visible_gpus()) else 0

    @property
    def ranks_per_node(self) -> int:
        """Processes a node."""
        return self.tasks_per_node or (1 if self.gpus == "auto" else max(1, self.gpus))

    @property
    def ranks(self) -> int:
        """Processes of a job."""
        return self.nodes * self.ranks_per_node

    @model_validator(mode="after")
    def _one_rank_a_gpu(self) -> TrainResources:
        if self.gpus not in ("auto", 0) and self.ranks_per_node != self.gpus:
            raise ValueError(f"tasks_per_node {self.tasks_per_node} with {self.gpus} GPUs a node: one rank a GPU")
        return self


class JobResources(Strict):
    """Where a job that follows training runs. Never part of a name or of what is tracked."""

    threads: int = Field(1, ge=1, description="CPU threads of the job, beside its workers")
    workers: int | None = Field(
        None,
        ge=0,
        description="processes that decode images, a core each; default: as many as threads, none beside one on a CPU",
    )
    mem_mb: int | None = Field(
        None, ge=100, description="memory, MB; default: by the model, the sets, the workers and the GPU"
    )
    runtime_minutes: int | None = Field(
        None,
        ge=1,
        description="time limit; a job that meets it goes on from what it kept. Default: by the seconds of finished "
        "jobs of the model, else by the model and the sets, from half an hour to a day",
    )
    gpus: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto",
        description="0: the CPU; 1; auto: one where the cell trains on GPUs or the machine has one, else the CPU",
    )
    cells_per_gpu: Literal["auto", 1, 2, 3, 4, 6, 12] = Field(
        "auto", description="such jobs on one GPU at a time; auto: as many as cells of the model that train on one"
    )

    @model_validator(mode="after")
    def _has_one_gpu(self) -> JobResources:
        if self.gpus not in ("auto", 0, 1):
            raise ValueError(f"gpus {self.gpus}: such a job uses one GPU; `evaluation.jobs` gives an evaluation more")
        return self

    def gpus_of(self, train: TrainResources) -> int:
        """GPUs of the job. train: resources of the training job before it, whose choice `auto` follows."""
        if self.gpus != "auto":
            return self.gpus
        return int(train.gpus != 0 and (train.gpus_per_node > 0 or len(visible_gpus()) > 0))


class EvaluateResources(JobResources):
    """Where a checkpoint is evaluated. Several GPUs: `evaluation.jobs`."""


class FineTuneResources(JobResources):
    """Where a checkpoint is fine-tuned on one set."""


class ResourcesOverride(Selector):
    """Resources of the jobs of the cells that match the selector."""

    train: dict[str, Any] = Field({}, description="fields of resources.train")
    evaluate: dict[str, Any] = Field({}, description="fields of resources.evaluate")
    fine_tune: dict[str, Any] = Field({}, description="fields of resources.fine_tune")

    @model_validator(mode="after")
    def _has_fields(self) -> ResourcesOverride:
        if not (self.train or self.evaluate or self.fine_tune):
            raise ValueError("give fields of train, evaluate or fine_tune")
        return self


class Cluster(Strict):
    """The machines that the plan's simulated schedule runs on."""

    gpus: int | None = Field(None, ge=1, description="GPUs that the study may use at a time; default: no limit")
    cores: int | None = Field(None, ge=1, description="CPU cores, for cells without GPUs; default: this machine's")
    concurrent_jobs: int | None = Field(None, ge=1, description="jobs at a time; default: no limit")
    time_limit_hours: float | None = Field(None, gt=0, description="of a job; a longer run is cut into slices")
    queue_wait_hours: float = Field(0.0, ge=0, description="mean wait of a submitted job, exponential")
    restart_hours: float = Field(0.05, ge=0, description="start-up of a slice: ranks, model, saved state")
    failures_per_gpu_hour: float = Field(
        0.0, ge=0, description="failures that end a job; it goes on from its last state"
    )


class Resources(Strict):
    """Where and how long; never part of a result."""

    train: TrainResources = TrainResources()
    evaluate: EvaluateResources = EvaluateResources()
    fine_tune: FineTuneResources = FineTuneResources()
    cluster: Cluster = Cluster()
    overrides: list[ResourcesOverride] = Field([], description="in order: a later one wins")

    def train_of(self, cell: Cell) -> TrainResources:
        """Resources of a cell's training job: the defaults plus every matching override."""
        return TrainResources.model_validate(self._fields("train", cell))

    def evaluate_of(self, cell: Cell) -> EvaluateResources:
        """Resources of a cell's evaluation, as `train_of`."""
        return EvaluateResources.model_validate(self._fields("evaluate", cell))

    def fine_tune_of(self, cell: Cell) -> FineTuneResources:
        """Resources of a cell's fine-tuning on one set, as `train_of`."""
        return FineTuneResources.model_validate(self._fields("fine_tune", cell))

    def _fields(self, job: Literal["train", "evaluate", "fine_tune"], cell: Cell) -> dict[str, Any]:
        fields: dict[str, Any] = getattr(self, job).model_dump(exclude_unset=True)
        for override in self.overrides:
            if override.matches(cell):
                fields.update(getattr(override, job))
        return fields


class Budget(Strict):
    """What the study may cost: a plan beyond it stops before the first job."""

    max_gpu_hours: float | None = Field(None, gt=0, description="of the cells that are still to run, by the estimate")
    max_storage_gb: float | None = Field(None, gt=0, description="at the peak, by the estimate")


class Costs(Strict):
    """What the plan's estimates start from, beside what runs and pilots have measured."""

    throughput: str | None = Field(
        None, description="CSV of known speeds, relative to the project folder (docs/plan.md has its columns)"
    )
    watts_per_gpu: float | None = Field(None, gt=0, description="with its share of the node; default: by gpu_kind")
    watts_per_core: float = Field(10.0, gt=0, description="of a CPU core, for cells without GPUs")
