"""A short trial of a cell: how fast its steps are, and what its job takes beside them. No weights are kept."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from ..models.checkpoint import save_checkpoint, weights_sha256
from ..study.grid import Cell, steps_for
from .job import Job, open_job
from .loop import Loop
from .schedule import schedule_of
from .state import StateFolder
from .validation import make_validation

WARM_UP_STEPS = 3
FEWEST_STEPS = 8
"""Steps that are timed at least."""


def run_pilot(args: argparse.Namespace) -> dict[str, Any]:
    """Train the cell for args.seconds, in a folder that is deleted.

    Returns the fields of a plan's Speed: samples/s a device over the steps after the warm-up, and start_seconds:
    from the start of this process to the first step; overhead_seconds: these, all validations, and the writing of the
    checkpoint. On a CPU, time in which other programs held the core is not counted; waited_seconds tells how much.
    """
    cell: Cell = args.cell
    begun = psutil.Process().create_time()
    job = open_job(args, cell)
    recipe, resources = job.recipe, job.resources
    waited = waited_seconds if not resources.gpus else lambda: 0.0
    steps = steps_for(cell.samples_seen, recipe.global_batch_size)
    with tempfile.TemporaryDirectory() as folder:
        loop = Loop(
            job.engine,
            job.data,
            schedule_of(recipe, steps),
            StateFolder(Path(folder)),
            stop=min(WARM_UP_STEPS, steps - 1),
            steps=None,
            identity=job.identity,
            checkpoint_seconds=1e9,
        )
        waited_before = waited()
        opened = time.time() - begun - waited_before
        loop.run()
        waited_warm = waited()
        warm, first = loop.progress.seconds, loop.progress.step
        while loop.progress.step < steps:
            seconds = loop.progress.seconds - warm
            done = loop.progress.step - first
            if done >= FEWEST_STEPS and seconds >= args.seconds:
                break
            more = int(done * (args.seconds / max(seconds, 1e-9) - 1)) if done >= FEWEST_STEPS else FEWEST_STEPS
            # Doubling at most: a guess from few steps may be far off. All ranks must agree on it.
            more = int(job.ranks.tell(min(max(1, more), max(FEWEST_STEPS, done))))
            loop.stop = min(steps, loop.progress.step + more)
            if loop.run().state != "trained":
                break
        timed = max(1, loop.progress.step - first)
        waited_timed = waited() - waited_warm
        seconds = max(loop.progress.seconds - warm - waited_timed, 1e-9)
        warm -= waited_warm - waited_before
        beside = opened + max(0.0, warm - first * seconds / timed)
        beside += _validation(job, args, waited) + _finish(job, Path(folder), waited)
    devices = job.ranks.size * (1 if resources.gpus else resources.threads)
    speed = timed * recipe.global_batch_size / seconds
    job.close()
    return {
        "cell": cell.name,
        "model": cell.model,
        "kind": (resources.gpu_kind or "A100-40GB") if resources.gpus else "cpu core",
        "devices": devices,
        "samples_per_second_per_device": speed / devices,
        "origin": "pilot",
        "local_batch": recipe.global_batch_size / devices,
        "overhead_seconds": beside,
        "start_seconds": opened,
        "steps": timed,
        "seconds": seconds,
        "waited_seconds": waited_timed,
    }


def waited_seconds() -> float:
    """Seconds in which this thread was ready while other programs held the cores: Linux tells; 0 elsewhere."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (FileNotFoundError, IndexError):
        return 0.0


def _validation(job: Job, args: argparse.Namespace, waited: Callable[[], float]) -> float:
    """Seconds of all validations of a run, from one."""
    if not args.validation:
        return 0.0
    validate = make_validation(
        job.engine.model.base, args.validation, args.tokenizer, job.engine.model_config, job.ranks.device,
        args.validation_samples, args.batch_size, args.loss_batch_size,
    )  # fmt: skip
    begun = time.monotonic() - waited()
    validate()
    return args.validation_times * (time.monotonic() - waited() - begun)


def _finish(job: Job, folder: Path, waited: Callable[[], float]) -> float:
    """Seconds of hashing and writing the weights."""
    begun = time.monotonic() - waited()
    weights = job.engine.model.weights()
    if job.ranks.is_main:
        weights_sha256(weights)
        save_checkpoint(folder / "checkpoint.pt", weights, {})
    return time.monotonic() - waited() - begun
