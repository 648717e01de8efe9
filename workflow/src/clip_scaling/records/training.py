"""What training leaves behind: the record of a cell, and the speed that a pilot measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from ..errors import ManifestError
from .base import Record
from .filenames import HEARTBEAT, TRAINED
from .made import Attempt, Provenance


class TrainRecord(Record):
    """A finished cell. Written by `train`; read by evaluation, plan, tables, report and provenance."""

    FILE: ClassVar[str] = TRAINED
    REMEDY: ClassVar[str] = "Delete it; `snakemake --cores all` then trains the cell again."

    cell: str = Field(description="Model-..._Data-..._Samples-..._Seed-...")
    model: str
    data: str = Field(description="subset")
    seed: int
    state: Literal["trained", "diverged"]
    recipe: dict[str, Any] = Field(description="every key of the recipe, as trained with")
    recipe_version: int
    open_clip_config: dict[str, Any] = Field(alias="model_config", description="of the model, as trained with")
    tokenizer_sha256: str
    weights_sha256: str = Field(description="of all tensors, by name")
    unique_pairs: int = Field(description="of the subset")
    order_digest: str = Field(description="of the subset's pairs in order")
    seen_digest: str | None = Field(description="of the pairs seen, by position; null for other trainers")
    steps: int = Field(description="optimizer steps made")
    samples_seen: int = Field(description="steps x global batch")
    samples_trained: int = Field(description="of these, what the cell adds to its trunk (schedule wsd)")
    epochs: float = Field(description="samples seen over unique pairs")
    text_tokens: int | None = Field(
        None,
        description="that the text tower took: up to each caption's end of text, or with padding where the tower needs "
        "it; null where not counted. compute_gmacs counts whole contexts, as the paper does",
    )
    lost_samples: int | None = Field(description="that could not be read; null for other trainers")
    gmacs_per_sample: int | float = Field(description="forward compute of both towers, GMAC")
    compute_gmacs: int | float = Field(description="gmacs_per_sample x samples seen, GMAC")
    parameters: int
    final_loss: float | None = Field(description="mean over the last tenth of the steps, nats")
    seconds: float = Field(description="of training, all attempts together")
    samples_per_second: float
    events: list[dict[str, Any]] = Field(description="instabilities: step, kind, loss, gradient norm, action")
    attempts: list[Attempt] = Field(description="a process each")
    finished: float = Field(description="seconds since 1970")
    device: str
    ranks: int
    threads: int = Field(description="a rank")
    resources: dict[str, Any]
    provenance: Provenance


class Heartbeat(Record):
    """A run at its last sign. Written by `train` every few seconds; read by status, the plan and the next attempt."""

    FILE: ClassVar[str] = HEARTBEAT
    REMEDY: ClassVar[str] = "Delete it; the run writes another."
    IS_SEALED: ClassVar[bool] = False

    state: str = Field(description="`running`, `saved`, or how the run ended")
    step: int
    samples: int = Field(description="seen so far")
    total_samples: int
    loss: float | None
    pairs_per_second: float | None
    time: float = Field(description="seconds since 1970")
    host: str
    pid: int

    @classmethod
    def last(cls, folder: Path) -> Heartbeat | None:
        """Read the last heartbeat of a run; None before the first, and where a full disk or a kill tore it."""
        try:
            return cls.read(folder / cls.FILE)
        except ManifestError:
            return None


class Pilot(Record):
    """A short trial of a cell. Written by `pilot_cell`; read by the plan."""

    FILE: ClassVar[str] = "pilot/CELL.json"

    cell: str
    model: str
    kind: str = Field(description="of device: a GPU, or `cpu core`")
    devices: int
    samples_per_second_per_device: float
    origin: Literal["pilot"]
    local_batch: float = Field(description="samples a device and step")
    overhead_seconds: float = Field(description="start, validations and the writing of the checkpoint")
    start_seconds: float = Field(description="from the start of the process to the first step")
    steps: int = Field(description="that were timed")
    seconds: float = Field(description="that they took")
    waited_seconds: float = Field(description="of these, while other programs held the core (Linux)")
