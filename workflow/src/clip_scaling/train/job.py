"""A training job from what a script asks for to its files: a cell of the grid, or a part of one or of a trunk."""

from __future__ import annotations

import hashlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..models import fast_import as plain_towers  # noqa: F401, before all that imports open_clip

# isort: split
from ..data.shards.packed import open_packed
from ..data.shards.read import PairReader
from ..data.shards.verify import verify_shards
from ..errors import TrainingError
from ..models.checkpoint import ABOUT, read_state, save_checkpoint, weights_sha256
from ..models.compute import gmacs_per_sample
from ..records.curve import curve_so_far, write_curve
from ..records.data import PackedManifest, SubsetManifest
from ..records.filenames import ATTEMPTS, CURVE
from ..records.files import canonical_json, remake, sha256_file
from ..records.lines import lines_so_far
from ..records.provenance import keep_diff, provenance, write_lock
from ..records.seal import seal
from ..records.training import TrainRecord
from ..study.config.resources import Resources, TrainResources
from ..study.config.training import Recipe
from ..study.grid import Cell, cooldown_start, steps_for
from . import compilation
from .callbacks import Curve, Validate, Validation, validation_steps
from .distributed import Ranks, join_ranks
from .engine import Engine
from .inputs import Input, PackedInput
from .loop import Loop, Outcome, Stretch
from .monitor import Monitor
from .order import Order
from .prefetch import Prefetch
from .schedule import schedule_of
from .state import StateFolder, write_state
from .steps import lag_on
from .stream import Form, StreamInput
from .watchdog import Watchdog

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainJob:
    """What a script asks for.

    data: manifest of the packed pairs, or of the subset. recipe: a rule's param, {"recipe", "model_config",
    "recipe_version"}. resources: of the study. resume: folder of saved states, curve and heartbeat.
    start: state of the part before, or of the trunk that the cell branches off.
    """

    cell: Cell
    data: Path
    tokenizer: Path
    recipe: dict[str, Any]
    resources: dict[str, Any]
    resume: Path
    start: Path | None = None
    validation: Validation | None = None
    validation_times: int = 10


@dataclass(frozen=True)
class CellFiles:
    """What a finished cell leaves behind."""

    checkpoint: Path
    record: Path
    curve: Path


@dataclass
class OpenJob:
    """A job whose data and model are open and checked."""

    asked: TrainJob
    ranks: Ranks
    recipe: Recipe
    resources: TrainResources
    manifest: PackedManifest | SubsetManifest
    data: Input
    engine: Engine

    @property
    def tokenizer_sha256(self) -> str:
        """Of the merges that the tokens are made by."""
        if isinstance(self.manifest, PackedManifest):
            return self.manifest.tokenizer_sha256
        return sha256_file(self.asked.tokenizer)

    @property
    def identity(self) -> str:
        """Hash of all that the states of this run have in common."""
        about = {"recipe": self.asked.recipe, "order_digest": self.manifest.order_digest, "seed": self.engine.seed}
        return hashlib.sha256(canonical_json(about).encode()).hexdigest()

    def __enter__(self) -> OpenJob:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """End the workers, and leave the process group. TrainingError where another rank has left it."""
        try:
            self.data.close()
        finally:
            self.ranks.close(is_failing=error is not None)
        if self.ranks.has_lost_another(error):
            raise TrainingError(
                f"another rank of this job has ended, and rank {self.ranks.rank} with it",
                remedy="The other rank's error is in the same log.",
            ) from None


def open_job(asked: TrainJob) -> OpenJob:
    """Open data and model. TrainingError where they do not go together."""
    recipe = Recipe.model_validate(asked.recipe["recipe"])
    resources = Resources.model_validate(asked.resources).train_of(asked.cell)
    ranks = join_ranks(resources.gpus)
    logging.basicConfig(level=logging.INFO if ranks.is_main else logging.ERROR, format="%(message)s")
    torch.set_num_threads(resources.threads)
    try:
        engine, resources = _build_engine(asked, recipe, resources, ranks)
        open_input = _open_packed if resources.input == "packed" else _open_stream
        manifest, data = open_input(asked, engine, resources)
    except BaseException:
        ranks.close(is_failing=True)
        raise
    if ranks.device.type == "cuda":
        data = Prefetch(data, recipe.global_batch_size, ranks.device)
    return OpenJob(asked, ranks, recipe, resources, manifest, data, engine)


def _build_engine(
    asked: TrainJob, recipe: Recipe, resources: TrainResources, ranks: Ranks
) -> tuple[Engine, TrainResources]:
    """The engine, and the resources with `compile` decided. What cannot be compiled on `auto` runs without."""
    model, given = asked.recipe["model_config"], resources.compile
    resources = compilation.decide(resources, ranks, model, recipe, asked.cell.samples_seen)
    if resources.compile:
        compilation.keep_kernels(asked.resume.parent.parent / ".compiled")
    engine = Engine(model, recipe, resources, ranks, asked.cell.seed)
    if given == "auto" and resources.compile:
        try:
            engine.warm_up()
        except Exception as error:
            if ranks.size > 1:  # the others may be within a sum over ranks
                raise TrainingError(
                    f"compilation failed: {error}",
                    place="resources.train.compile: auto",
                    remedy="Set it to false; please report it with its log.",
                ) from error
            log.warning(f"compilation failed, so this run goes on without (resources.train.compile): {error}")
            compilation.forget_kernels()
            resources = resources.model_copy(update={"compile": False})
            engine = Engine(model, recipe, resources, ranks, asked.cell.seed)
    return engine, resources


def _order(data: Path, recipe: Recipe, shard_pairs: list[int], seed: int) -> Order:
    """TrainingError where there are more readers than shards: the plan knows no number of tars that are not there."""
    if recipe.readers is not None and recipe.readers > len(shard_pairs):
        raise TrainingError(
            f"{recipe.readers} readers for {len(shard_pairs)} shards",
            place=str(data),
            remedy=f"Set recipe.readers to {len(shard_pairs)} or fewer.",
        )
    return Order(
        shard_pairs,
        seed,
        readers=recipe.readers,
        window=recipe.shuffle_window,
        replacement=recipe.sampling == "replacement",
        virtual_epoch=recipe.virtual_epoch,
    )


def _form(engine: Engine) -> Form:
    config = engine.model_config
    size, context = config["vision_cfg"].get("image_size", 224), config["text_cfg"].get("context_length", 77)
    return Form(size, context, engine.recipe.crop_scale)


def _open_packed(asked: TrainJob, engine: Engine, resources: TrainResources) -> tuple[PackedManifest, Input]:
    form, pairs = _form(engine), open_packed(asked.data, is_hashing=engine.ranks.local_rank == 0)
    manifest = pairs.manifest
    if (manifest.image_size, manifest.context_length) != (form.image_size, form.context_length):
        raise TrainingError(
            f"packed at {manifest.image_size} px and {manifest.context_length} tokens, but the model takes "
            f"{form.image_size} px and {form.context_length} tokens",
            place=str(asked.data),
            remedy="Run `snakemake --cores all` to pack the pairs for it.",
        )
    order = _order(asked.data, engine.recipe, manifest.shard_pairs, engine.seed)
    return manifest, PackedInput(pairs, order, form.crop_scale, engine.ranks.device)


def _open_stream(asked: TrainJob, engine: Engine, resources: TrainResources) -> tuple[SubsetManifest, Input]:
    manifest = SubsetManifest.read(asked.data)
    verify_shards(manifest.shards, asked.data.parent, "size", remake(asked.data))
    order = _order(asked.data, engine.recipe, manifest.shard_pairs, engine.seed)
    data = StreamInput(
        PairReader.open(asked.data), asked.tokenizer, order, _form(engine),
        workers=resources.workers, ranks=engine.ranks.size, batch_size=engine.recipe.global_batch_size,
        is_for_gpu=engine.ranks.device.type == "cuda",
    )  # fmt: skip
    return manifest, data


def run_loop(job: OpenJob, name: str, stop: int, steps: int | None) -> Outcome:
    """Train to `stop`, continuing what is saved, else from the state to start from, else from fresh weights.

    A part before this one that diverged ends the run.
    """
    resources, asked = job.resources, job.asked
    cap = resources.max_state_gb * 1e9 if resources.max_state_gb else None
    folder = StateFolder(asked.resume, resources.keep_states, cap)
    before = read_state(asked.start) if asked.start else None
    # A state of this very run is a step on its way; one of a trunk is where the run begins.
    origin = before["progress"]["step"] if before and before["identity"] != job.identity else 0
    if job.engine.needs_warm_up:
        job.engine.warm_up()
    seconds, lag = resources.checkpoint_minutes * 60, lag_on(job.ranks.device)
    stretch = Stretch(stop, steps, job.identity, origin, seconds, lag)
    loop = Loop(job.engine, job.data, schedule_of(job.recipe, steps), folder, stretch)
    loop.watchdog = Watchdog(resources.hang_minutes, job.ranks.rank, job.ranks.size)
    is_continued = loop.continue_saved()
    if before is not None and not (is_continued and loop.progress.step >= before["progress"]["step"]):
        loop.start_from(before)
    monitor = None
    if job.ranks.is_main:
        total = (steps or stop) * job.recipe.global_batch_size
        monitor = Monitor(asked.resume, name, total, loop.progress.step, resources.wandb_project)
        loop.callbacks.append(Curve(monitor))
    if asked.validation is not None:
        evaluator = asked.validation.of(job.engine.model.encoder, job.engine.model_config, job.ranks.device)
        places = validation_steps(origin, steps or stop, asked.validation_times)
        loop.callbacks.append(Validate(evaluator, places, monitor))
    outcome = Outcome("diverged", loop.progress) if before and before.get("is_diverged") else loop.run()
    if outcome.state != "saved":
        loop.state()  # adds up what the ranks have seen
    if monitor is not None:
        now = outcome.progress
        state = "saved" if steps and now.step < steps and outcome.state == "trained" else outcome.state
        monitor.beat(now.step, now.step * job.recipe.global_batch_size, outcome.final_loss, 0.0, state)
        monitor.close()
    return outcome


def train_cell(asked: TrainJob, files: CellFiles) -> Outcome:
    """Train a cell and write its checkpoint, record and curve; nothing of them where it was saved on a signal."""
    with open_job(asked) as job:
        steps = steps_for(asked.cell.samples_seen, job.recipe.global_batch_size)
        outcome = run_loop(job, asked.cell.name, steps, steps)
        if outcome.state != "saved":
            weights = job.engine.model.weights()
            if job.ranks.is_main:
                curve = asked.resume / CURVE
                write_curve(files.curve, curve_so_far(curve))
                seal(files.curve)
                write_cell(files, _record(job, outcome, steps), weights)
                StateFolder(asked.resume).delete()
                curve.unlink()
    return outcome


def write_cell(files: CellFiles, fields: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """Write a finished cell's record and checkpoint. fields: of TrainRecord, less the hash of the weights."""
    record = TrainRecord.model_validate(fields | {"weights_sha256": weights_sha256(weights)})
    record.write(files.record)
    keep_diff(files.record)
    save_checkpoint(files.checkpoint, weights, {name: fields[name] for name in ABOUT})


def _record(job: OpenJob, outcome: Outcome, steps: int) -> dict[str, Any]:
    """The record of a cell, less the hash of its weights."""
    asked = job.asked
    batch, now = job.recipe.global_batch_size, outcome.progress
    seen = now.step * batch
    first = cooldown_start(steps, job.recipe.cooldown_fraction) if job.recipe.schedule == "wsd" else 0
    return about_cell(asked, job.manifest, seen) | {
        "state": outcome.state,
        "model_config": job.engine.model_config,
        "recipe": job.recipe.model_dump(),
        "tokenizer_sha256": job.tokenizer_sha256,
        "seen_digest": f"{now.digest & ((1 << 64) - 1):016x}",
        "steps": now.step,
        "samples_trained": (now.step - first) * batch,
        "text_tokens": now.text_tokens,
        "lost_samples": now.lost,
        "parameters": job.engine.parameters,
        "final_loss": outcome.final_loss,
        "seconds": now.seconds,
        "samples_per_second": (now.step - first) * batch / max(now.seconds, 1e-9),
        "events": now.events,
        "attempts": lines_so_far(asked.resume / ATTEMPTS),
        "device": str(job.ranks.device),
        "ranks": job.ranks.size,
        "threads": job.resources.threads,
        "resources": job.resources.model_dump(),
        "provenance": provenance("torch", "open_clip_torch", "numpy", "pillow", "webdataset"),
    }


def about_cell(asked: TrainJob, manifest: PackedManifest | SubsetManifest, seen: int) -> dict[str, Any]:
    """The fields of a cell's record that follow from what was asked, its data and the samples seen."""
    cell, gmacs = asked.cell, gmacs_per_sample(asked.recipe["model_config"])["total"]
    return {
        "cell": cell.name,
        "model": cell.model,
        "data": cell.data,
        "seed": cell.seed,
        "recipe_version": asked.recipe["recipe_version"],
        "unique_pairs": manifest.pairs,
        "order_digest": manifest.order_digest,
        "samples_seen": seen,
        "epochs": seen / manifest.pairs,
        "gmacs_per_sample": gmacs,
        "compute_gmacs": gmacs * seen,
        "finished": time.time(),
    }


def train_part(asked: TrainJob, run: str, stop: int, steps: int | None, output: Path) -> Outcome:
    """Train a part of a trunk or of a cell and write the state at its end.

    run: name of the trunk or the cell. stop: last step of the part. steps: of the whole cell; None for a trunk.
    A cell's parts share the folder of its saved states: none is deleted before the cell is done, and a part that
    diverged is written too, since that is how the cell ends. TrainingError where a trunk diverged.
    """
    with open_job(asked) as job:
        is_trunk = steps is None
        outcome = run_loop(job, f"{run} to step {stop}", stop, steps)
        if outcome.state == "diverged" and is_trunk:
            events = ", ".join(f"{event['kind']} at step {event['step']}" for event in outcome.progress.events)
            job.ranks.close()
            raise TrainingError(
                f"{run} diverged ({events}), and every budget follows from it. Lower recipe.learning_rate for "
                "it, lengthen its warm-up, or choose recipe.instability.policy skip or rollback."
            )
        if outcome.state != "saved":
            state = {**job.engine.state(), "progress": vars(outcome.progress), "identity": job.identity}
            if job.ranks.is_main:
                write_state(output, state | {"is_diverged": outcome.state == "diverged"})
                write_lock(output, [asked.data, asked.tokenizer], "torch", "open_clip_torch", "numpy")
                if is_trunk:
                    StateFolder(asked.resume).delete()
    return outcome
