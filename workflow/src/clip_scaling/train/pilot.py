"""A short trial of a cell: how fast its steps are, and what its job takes beside them. No weights are kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from ..models.checkpoint import save_checkpoint, weights_sha256
from ..records.filenames import CHECKPOINT
from ..records.training import Pilot
from ..study.config.devices import CPU, kind_of
from ..study.grid import steps_for
from .distributed import gpu_name
from .job import OpenJob, TrainJob, open_job
from .loop import Loop, Stretch
from .schedule import schedule_of
from .state import StateFolder
from .steps import lag_on

WARM_UP_STEPS = 3
FEWEST_STEPS = 8
"""Steps that are timed at least."""


def run_pilot(asked: TrainJob, seconds: float) -> Pilot:
    """Train the cell for some seconds, in a folder that is deleted.

    Speeds are samples/s a device over the steps after the warm-up. On a CPU, time in which other programs held the
    core is not counted.
    """
    begun = psutil.Process().create_time()
    with open_job(asked) as job, tempfile.TemporaryDirectory() as folder:
        recipe, resources = job.recipe, job.resources
        is_gpu = job.ranks.device.type == "cuda"
        waited = (lambda: 0.0) if is_gpu else waited_seconds
        opened = time.time() - begun - waited()
        timed = _time_steps(job, Path(folder), seconds, waited)
        beside = opened + timed.before + _validation(job, waited) + _finish(job, Path(folder), waited)
        devices = job.ranks.size * (1 if is_gpu else resources.threads)
    return Pilot(
        cell=asked.cell.name,
        model=asked.cell.model,
        kind=kind_used(job.ranks.device, resources.gpu_kind),
        devices=devices,
        samples_per_second_per_device=timed.steps * recipe.global_batch_size / timed.seconds / devices,
        origin="pilot",
        local_batch=recipe.global_batch_size / devices,
        overhead_seconds=beside,
        start_seconds=opened,
        steps=timed.steps,
        seconds=timed.seconds,
        waited_seconds=timed.waited,
    )


def kind_used(device: torch.device, named: str | None) -> str:
    """The kind of a device that was trained on. named: as the study names it, taken for a GPU of that name only."""
    return kind_of(*gpu_name(device), named) if device.type == "cuda" else CPU


@dataclass(frozen=True)
class Timed:
    """Steps that were timed. seconds: that they took, less those waited. before: the first steps' excess over these."""

    steps: int
    seconds: float
    waited: float
    before: float


def _time_steps(job: OpenJob, folder: Path, wanted: float, waited: Callable[[], float]) -> Timed:
    """Warm up, then make steps for the wanted seconds."""
    steps = steps_for(job.asked.cell.samples_seen, job.recipe.global_batch_size)
    lag = lag_on(job.ranks.device)
    stretch = Stretch(min(WARM_UP_STEPS, steps - 1), None, job.identity, checkpoint_seconds=1e9, lag=lag)
    loop = Loop(job.engine, job.data, schedule_of(job.recipe, steps), StateFolder(folder), stretch)
    waited_before = waited()
    loop.run()
    waited_warm = waited()
    warm, first = loop.progress.seconds, loop.progress.step
    while loop.progress.step < steps:
        seconds = loop.progress.seconds - warm
        done = loop.progress.step - first
        if done >= FEWEST_STEPS and seconds >= wanted:
            break
        more = int(done * (wanted / max(seconds, 1e-9) - 1)) if done >= FEWEST_STEPS else FEWEST_STEPS
        # Doubling at most: a guess from few steps may be far off. All ranks must agree on it.
        more = int(job.ranks.tell(min(max(1, more), max(FEWEST_STEPS, done))))
        loop.stop = min(steps, loop.progress.step + more)
        if loop.run().state != "trained":
            break
    timed = max(1, loop.progress.step - first)
    waited_timed = waited() - waited_warm
    seconds = max(loop.progress.seconds - warm - waited_timed, 1e-9)
    warm -= waited_warm - waited_before
    return Timed(timed, seconds, waited_timed, max(0.0, warm - first * seconds / timed))


def waited_seconds() -> float:
    """Seconds in which this thread was ready while other programs held the cores; 0 where the system is not Linux."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (FileNotFoundError, IndexError):
        return 0.0


def _validation(job: OpenJob, waited: Callable[[], float]) -> float:
    """Seconds of all validations of a run, from one."""
    asked = job.asked
    if asked.validation is None:
        return 0.0
    evaluator = asked.validation.of(job.engine.model.encoder, job.engine.model_config, job.ranks.device)
    begun = time.monotonic() - waited()
    with job.engine.model.evaluated():
        dict(evaluator.run())
    return asked.validation_times * (time.monotonic() - waited() - begun)


def _finish(job: OpenJob, folder: Path, waited: Callable[[], float]) -> float:
    """Seconds of hashing and writing the weights."""
    begun = time.monotonic() - waited()
    weights = job.engine.model.weights()
    if job.ranks.is_main:
        weights_sha256(weights)
        save_checkpoint(folder / CHECKPOINT, weights, {})
    return time.monotonic() - waited() - begun
