"""A training job from its options to its files: a cell of the grid, or a part of a trunk."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..models import fast_import as plain_towers  # noqa: F401, before all that imports open_clip

# isort: split
from ..data.shards.packed import open_packed
from ..data.shards.verify import verify_shards
from ..errors import TrainingError
from ..models.checkpoint import read_state, save_checkpoint, weights_sha256
from ..models.compute import gmacs_per_sample
from ..records.data import PackedManifest, SubsetManifest
from ..records.files import canonical_json, remake, sha256_file, write_json, write_text
from ..records.provenance import keep_diff, provenance, write_lock
from ..study.config.resources import Resources, TrainResources
from ..study.config.training import Recipe
from ..study.grid import Cell, cooldown_start, steps_for
from .distributed import Ranks, join_ranks
from .engine import Engine
from .inputs import Input, PackedInput
from .loop import Loop, Outcome
from .monitor import Monitor
from .order import Order
from .schedule import schedule_of
from .state import StateFolder, write_state
from .validation import make_validation, validation_steps

log = logging.getLogger(__name__)


@dataclass
class Job:
    """What the scripts were asked, opened and checked."""

    args: argparse.Namespace
    ranks: Ranks
    recipe: Recipe
    resources: TrainResources
    manifest: PackedManifest | SubsetManifest
    tokenizer_sha256: str
    data: Input
    engine: Engine

    @property
    def identity(self) -> str:
        """Hash of all that the states of this run have in common."""
        about = {"recipe": self.args.recipe, "order_digest": self.manifest.order_digest, "seed": self.engine.seed}
        return hashlib.sha256(canonical_json(about).encode()).hexdigest()

    def close(self) -> None:
        """End workers and leave the process group."""
        self.data.close()
        self.ranks.close()


def open_job(args: argparse.Namespace, cell: Cell) -> Job:
    """Open data and model as the options say. TrainingError where they do not go together."""
    ranks = join_ranks()
    recipe = Recipe.model_validate(args.recipe["recipe"])
    resources = Resources.model_validate(args.resources).train_of(cell)
    seed = cell.seed
    logging.basicConfig(level=logging.INFO if ranks.is_main else logging.ERROR, format="%(message)s")
    torch.set_num_threads(resources.threads)
    engine = Engine(args.recipe["model_config"], recipe, resources, ranks, seed)
    config = engine.model_config
    size, context = config["vision_cfg"].get("image_size", 224), config["text_cfg"].get("context_length", 77)
    data: Input
    if resources.input == "packed":
        pairs = open_packed(args.data)
        manifest: PackedManifest | SubsetManifest
        manifest = packed = pairs.manifest
        tokenizer_sha256 = packed.tokenizer_sha256
        data = PackedInput(pairs, _order(recipe, packed.shard_pairs, seed), recipe.crop_scale)
        if (packed.image_size, packed.context_length) != (size, context):
            raise TrainingError(
                f"{args.data}: packed at {packed.image_size} px and {packed.context_length} tokens, but the "
                f"model takes {size} px and {context} tokens. Run `snakemake --cores all` to pack the pairs for it."
            )
    else:
        from .stream import StreamInput

        manifest = SubsetManifest.read(args.data)
        verify_shards(manifest.shards, args.data.parent, "size", remake(args.data))
        tokenizer_sha256 = sha256_file(args.tokenizer)
        data = StreamInput(
            args.data, args.tokenizer, _order(recipe, manifest.shard_pairs, seed), size, context, recipe.crop_scale,
            workers=resources.workers, ranks=ranks.size, batch_size=recipe.global_batch_size,
        )  # fmt: skip
    return Job(args, ranks, recipe, resources, manifest, tokenizer_sha256, data, engine)


def _order(recipe: Recipe, shard_pairs: list[int], seed: int) -> Order:
    return Order(
        shard_pairs,
        seed,
        readers=recipe.readers,
        window=recipe.shuffle_window,
        replacement=recipe.sampling == "replacement",
        virtual_epoch=recipe.virtual_epoch,
    )


def run_loop(job: Job, name: str, stop: int, steps: int | None, start: Path | None) -> Outcome:
    """Train to `stop`, continuing what is saved, else from the state `start`, else from fresh weights.

    start: of the part before, or of the trunk that the run branches off. A part that diverged ends the run.
    """
    resources, args = job.resources, job.args
    cap = resources.max_state_gb * 1e9 if resources.max_state_gb else None
    folder = StateFolder(args.resume, resources.keep_states, cap)
    before = read_state(start) if start else None
    # A state of this very run is a step on its way; one of a trunk is where the run begins.
    origin = before["progress"]["step"] if before and before["identity"] != job.identity else 0
    loop = Loop(
        job.engine,
        job.data,
        schedule_of(job.recipe, steps),
        folder,
        origin=origin,
        stop=stop,
        steps=steps,
        identity=job.identity,
        checkpoint_seconds=resources.checkpoint_minutes * 60,
    )
    is_continued = loop.continue_saved()
    if before is not None and not (is_continued and loop.progress.step >= before["progress"]["step"]):
        loop.start_from(before)
    if args.validation:
        loop.validation_steps = validation_steps(origin, steps or stop, args.validation_times)
        loop.validate = make_validation(
            job.engine.model.base, args.validation, args.tokenizer, job.engine.model_config, job.ranks.device,
            args.validation_samples, args.batch_size, args.loss_batch_size,
        )  # fmt: skip
    monitor = None
    if job.ranks.is_main:
        total = (steps or stop) * job.recipe.global_batch_size
        monitor = Monitor(args.resume, name, total, loop.progress.step, resources.wandb_project)
        loop.monitor = monitor
    outcome = Outcome("diverged", loop.progress) if before and before.get("is_diverged") else loop.run()
    if outcome.state != "saved":
        loop.state()  # adds up what the ranks have seen
    if monitor is not None:
        now = outcome.progress
        state = "saved" if steps and now.step < steps and outcome.state == "trained" else outcome.state
        monitor.beat(now.step, now.step * job.recipe.global_batch_size, outcome.final_loss, 0.0, state)
        monitor.close()
    return outcome


def train_cell(args: argparse.Namespace) -> Outcome:
    """Train a cell and write its checkpoint, record and curve; nothing of them where it was saved on a signal."""
    cell: Cell = args.cell
    job = open_job(args, cell)
    steps = steps_for(cell.samples_seen, job.recipe.global_batch_size)
    outcome = run_loop(job, cell.name, steps, steps, args.start)
    if outcome.state == "saved":
        job.close()
        return outcome
    weights = job.engine.model.weights()
    if job.ranks.is_main:
        about = {
            "cell": cell.name,
            "state": outcome.state,
            "model_config": job.engine.model_config,
            "recipe": job.recipe.model_dump(),
            "recipe_version": args.recipe["recipe_version"],
            "tokenizer_sha256": job.tokenizer_sha256,
        }
        curve = args.resume / "curve.jsonl"
        write_text(args.curve, curve.read_text(encoding="utf-8"))
        write_json(
            args.record, about | _record(job, cell, outcome, steps) | {"weights_sha256": weights_sha256(weights)}
        )
        keep_diff(args.record)
        save_checkpoint(args.checkpoint, weights, about)
        StateFolder(args.resume).delete()
        curve.unlink()
    job.close()
    return outcome


def _record(job: Job, cell: Cell, outcome: Outcome, steps: int) -> dict[str, Any]:
    """What train.json says beside what the checkpoint says too."""
    batch, now = job.recipe.global_batch_size, outcome.progress
    gmacs = gmacs_per_sample(job.args.recipe["model_config"])
    seen = now.step * batch
    first = cooldown_start(steps, job.recipe.cooldown_fraction) if job.recipe.schedule == "wsd" else 0
    attempts = (job.args.resume / "attempts.jsonl").read_text(encoding="utf-8").splitlines()
    return {
        "model": cell.model,
        "data": cell.data,
        "seed": cell.seed,
        "unique_pairs": job.manifest.pairs,
        "order_digest": job.manifest.order_digest,
        "seen_digest": f"{now.digest & ((1 << 64) - 1):016x}",
        "steps": now.step,
        "samples_seen": seen,
        "samples_trained": (now.step - first) * batch,
        "epochs": seen / job.manifest.pairs,
        "lost_samples": now.lost,
        "gmacs_per_sample": gmacs["total"],
        "compute_gmacs": gmacs["total"] * seen,
        "parameters": job.engine.parameters,
        "final_loss": outcome.final_loss,
        "seconds": now.seconds,
        "samples_per_second": (now.step - first) * batch / max(now.seconds, 1e-9),
        "events": now.events,
        "attempts": [json.loads(line) for line in attempts],
        "finished": time.time(),
        "device": str(job.ranks.device),
        "ranks": job.ranks.size,
        "threads": job.resources.threads,
        "resources": job.resources.model_dump(),
        "provenance": provenance("torch", "open_clip_torch", "numpy", "pillow", "webdataset"),
    }


def train_part(args: argparse.Namespace) -> Outcome:
    """Train a part of a trunk or of a cell and write the state at its end.

    A cell's parts share the folder of its saved states: none is deleted before the cell is done, and a part that
    diverged is written too, since that is how the cell ends. TrainingError where a trunk diverged.
    """
    job = open_job(args, args.cell)
    is_trunk = args.steps is None
    outcome = run_loop(job, f"{args.run} to step {args.stop}", args.stop, args.steps, args.start)
    if outcome.state == "diverged" and is_trunk:
        events = ", ".join(f"{event['kind']} at step {event['step']}" for event in outcome.progress.events)
        job.close()
        raise TrainingError(
            f"{args.run} diverged ({events}), and every budget follows from it. Lower recipe.learning_rate for "
            "it, lengthen its warm-up, or choose recipe.instability.policy skip or rollback."
        )
    if outcome.state != "saved":
        state = {**job.engine.state(), "progress": vars(outcome.progress), "identity": job.identity}
        if job.ranks.is_main:
            write_state(args.state, state | {"is_diverged": outcome.state == "diverged"})
            write_lock(args.state, [args.data, args.tokenizer], "torch", "open_clip_torch", "numpy")
            if is_trunk:
                StateFolder(args.resume).delete()
    job.close()
    return outcome
