"""A cell trained by open_clip_train instead of this project's loop, for comparison (`recipe.trainer`).

It runs in an environment of its own, since it does not go with a current webdataset (envs/peers.in). What it does not
record (gradient norms, what was lost, the order) is missing from the cell's record too.
"""

from __future__ import annotations

import logging
import math
import os
import re
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from ..data.shards.opening import is_url
from ..errors import TrainingError
from ..machine.gpus import VISIBLE
from ..models.build import PREPROCESS, model_config_of
from ..records.curve import TrainingPoint, write_curve
from ..records.data import SubsetManifest
from ..records.files import sha256_file, write_json
from ..records.provenance import provenance
from ..study.config.resources import Resources, TrainResources
from ..study.config.training import Recipe
from ..study.grid import steps_for
from .distributed import choose_device
from .job import CellFiles, TrainJob, about_cell, write_cell
from .schedule import cosine, warmup_steps
from .signals import received

log = logging.getLogger(__name__)
PYTHON = "CLIP_SCALING_PEER_PYTHON"
"""Environment variable: interpreter of an environment with envs/peers.txt; default: .venv-peers/bin/python."""
_SECONDS_TO_END = 30
"""Seconds that a peer gets to end after a signal."""
_POINT = re.compile(
    r"(?P<time>[-0-9]{10},[:0-9]{8}) \| INFO \| Train Epoch: 0 \[\s*(?P<samples>\d+)/(?P<total>\d+) .*?"
    r"Data \(t\): (?P<data>[.\d]+) Batch \(t\): (?P<batch>[.\d]+), (?P<speed>[-+.e\d]+)/s.*?"
    r"Logit Scale: (?P<scale>[.\d]+) .*?Loss: (?P<loss>\S+) \([^()]*\)$"
)


@dataclass(frozen=True)
class PeerRun:
    """Arguments of a call of open_clip_train. steps: of the whole budget; workers: of its loader."""

    recipe: Recipe
    resources: TrainResources
    shards: list[str]
    folder: Path
    steps: int
    workers: int
    seed: int
    ranks: int
    device: str

    def arguments(self) -> list[str]:
        """Options of `open_clip_train.main`."""
        recipe, resources = self.recipe, self.resources
        scale = recipe.crop_scale or (1.0, 1.0)
        augmentation = [f"scale=({scale[0]},{scale[1]})"] + ([] if recipe.crop_scale else ["ratio=(1.0,1.0)"])
        options: dict[str, Any] = {
            # Everything in one of its epochs: it rounds up the samples of each.
            "epochs": 1,
            "train-num-samples": self.steps * recipe.global_batch_size,
            "train-data": shard_list(self.shards),
            "dataset-type": "webdataset",
            "model": f"local-dir:{self.folder / 'model'}",
            "batch-size": recipe.global_batch_size // (self.ranks * resources.accumulate),
            "accum-freq": resources.accumulate,
            "lr": recipe.learning_rate,
            "beta1": recipe.beta1,
            "beta2": recipe.beta2,
            "eps": recipe.eps,
            "wd": recipe.weight_decay,
            "warmup": warmup_steps(recipe, self.steps),
            # Its fp32 takes TF32 on GPUs that have it.
            "precision": "fp32" if recipe.precision == "tf32" else recipe.precision,
            "workers": self.workers,
            "seed": self.seed,
            "device": self.device,
            "logs": self.folder,
            "name": "run",
            "log-every-n-steps": max(1, self.steps // 100),
        }
        if recipe.gradient_clip is not None:
            options["grad-clip-norm"] = recipe.gradient_clip
        if recipe.patch_dropout:
            options["force-patch-dropout"] = recipe.patch_dropout
        flags = {
            "local-loss": recipe.objective == "clip" and self.ranks > 1,
            "gather-with-grad": recipe.objective == "clip" and self.ranks > 1,
            "siglip": recipe.objective == "siglip",
            "dataset-resampled": recipe.sampling == "replacement",
            "grad-checkpointing": resources.gradient_checkpointing,
            "torchcompile": resources.compile is True,
        }
        given = [text for name, value in options.items() for text in (f"--{name}", str(value))]
        return [*given, *(f"--{name}" for name, wanted in flags.items() if wanted), "--aug-cfg", *augmentation]


def shard_list(paths: list[str]) -> str:
    """Shards as open_clip_train takes them: a brace pattern where they are numbered through, else joined by `::`."""
    first, last = paths[0], paths[-1]
    ends = [re.fullmatch(r"(.*?)(\d+)(\.tar)", path) for path in (first, last)]
    if len(paths) > 1 and ends[0] and ends[1]:
        begin, width = int(ends[0][2]), len(ends[0][2])
        if paths == [f"{ends[0][1]}{begin + n:0{width}d}.tar" for n in range(len(paths))]:
            return f"{ends[0][1]}{{{ends[0][2]}..{ends[1][2]}}}.tar"
    return "::".join(paths)


def check_recipe(recipe: Recipe, resources: TrainResources, ranks: int, device: str) -> None:
    """TrainingError names what of a recipe open_clip_train cannot do; what it has no use for is logged."""
    refused = []
    if recipe.schedule != "cosine":
        refused.append(f"recipe.schedule {recipe.schedule!r} (it would train each budget from the start: use cosine)")
    if recipe.objective == "coca":
        refused.append("recipe.objective 'coca' (its CoCa starts from uninitialised weights in open_clip 3.3.0)")
    if resources.parallel != "ddp":
        refused.append(f"resources.train.parallel {resources.parallel!r} (use ddp)")
    if ranks > 1 and device == "cpu":
        refused.append(f"{ranks} ranks on CPUs (open_clip_train 3.3.0 gives DDP a CPU as device id)")
    if recipe.global_batch_size % (ranks * resources.accumulate):
        refused.append(f"a batch of {recipe.global_batch_size} over {ranks} ranks x {resources.accumulate}")
    if refused:
        raise TrainingError(f"recipe.trainer open_clip_train cannot do {'; '.join(refused)}.")
    if recipe.instability.policy != "stop":
        log.info(f"open_clip_train has no recipe.instability.policy: {recipe.instability.policy!r} is left aside")
    if recipe.readers is not None:
        log.info("open_clip_train shuffles in a way of its own: recipe.readers and shuffle_window are left aside")


def peer_python() -> str:
    """Interpreter that has open_clip_train. TrainingError where there is none."""
    python = os.environ.get(PYTHON, ".venv-peers/bin/python")
    if shutil.which(python) is None:
        raise TrainingError(
            f"recipe.trainer open_clip_train needs an environment of its own, and {python} is not there. "
            f"Run `make env-peers`, or let {PYTHON} name an interpreter that has envs/peers.txt."
        )
    return os.path.abspath(python)


def read_curve(text: str, run: PeerRun) -> list[TrainingPoint]:
    """The points of a run's log, with the rates of its schedule. Losses are those of the first rank."""
    points: list[TrainingPoint] = []
    batch = run.recipe.global_batch_size
    begun: float | None = None
    warmup = warmup_steps(run.recipe, run.steps)
    for line in text.splitlines():
        if "| Start epoch 0" in line:
            begun = _seconds(line[:19])
        if found := _POINT.match(line):
            samples = int(found["samples"])
            total = int(found["total"]) // batch
            loss, spent = float(found["loss"]), float(found["batch"])
            points.append(
                TrainingPoint(
                    step=samples // batch,
                    samples=samples,
                    loss=loss if math.isfinite(loss) else None,
                    learning_rate=cosine(samples // batch - 1, total, warmup, run.recipe.learning_rate),
                    gradient_norm=None,
                    logit_scale=float(found["scale"]),
                    pairs_per_second=float(found["speed"]),
                    data_wait_share=min(1.0, float(found["data"]) / spent) if spent else 0.0,
                    memory_mb=resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3,
                    seconds=_seconds(found["time"]) - (begun or _seconds(found["time"])),
                )
            )
    return points


def _seconds(text: str) -> float:
    return datetime.strptime(text, "%Y-%m-%d,%H:%M:%S").timestamp()


def train_cell_by_peer(asked: TrainJob, files: CellFiles) -> None:
    """Train a cell by open_clip_train and write its checkpoint, record and curve as the project's loop does.

    asked.data is the subset's manifest: its tars are streamed. TrainingError where the recipe asks for what the peer
    cannot do, where its environment is missing, where it fails or is stopped by a signal: it saves no state in a run.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    cell = asked.cell
    recipe = Recipe.model_validate(asked.recipe["recipe"])
    resources = Resources.model_validate(asked.resources).train_of(cell)
    ranks = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_STEP_NUM_TASKS", "1")))
    rank = int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) if ranks > 1 else 0
    device = choose_device(resources.gpus, os.environ).type
    check_recipe(recipe, resources, ranks, device)
    python = peer_python()
    manifest = SubsetManifest.read(asked.data)
    home = asked.data.parent.resolve()
    shards = [entry.path if is_url(entry.path) else str(home / entry.path) for entry in manifest.shards]
    steps = steps_for(cell.samples_seen, recipe.global_batch_size)
    run = PeerRun(
        recipe, resources, shards, asked.resume.resolve() / "open_clip_train", steps,
        loader_workers(resources.workers, steps * resources.accumulate, len(shards) // ranks), cell.seed, ranks, device,
    )  # fmt: skip
    config = model_config_of(asked.recipe["model_config"], recipe)
    if rank == 0:
        shutil.rmtree(run.folder, ignore_errors=True)
        text = config["text_cfg"] | {"tokenizer_kwargs": {"bpe_path": str(asked.tokenizer.resolve())}}
        preprocess = {key: PREPROCESS[key] for key in ("mean", "std", "interpolation")}
        write_json(
            run.folder / "model" / "open_clip_config.json",
            {"model_cfg": config | {"text_cfg": text}, "preprocess_cfg": preprocess},
        )
    begun = time.time()
    _call([python, "-m", "open_clip_train.main", *run.arguments()], resources.threads, device)
    if rank == 0:
        _convert(asked, files, run, manifest, begun)


def loader_workers(wanted: int, batches: int, shards: int) -> int:
    """Workers, at most as many as wanted and as there are shards, that share all batches evenly.

    open_clip_train rounds up to as many batches for each worker: another number would change the budget.
    """
    return max((n for n in range(1, min(wanted, shards) + 1) if batches % n == 0), default=0)


def _call(command: list[str], threads: int, device: str) -> None:
    """Run the peer; a signal to this process ends it."""
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "NO_ALBUMENTATIONS_UPDATE": "1"}
    environment.pop("PYTHONPATH", None)
    if device == "cpu":
        environment[VISIBLE] = ""  # it takes a GPU wherever it sees one
    process = subprocess.Popen(command, env=environment, stdout=sys.stdout, stderr=sys.stderr)
    while process.poll() is None:
        if received() is not None:
            process.terminate()
            try:
                process.wait(timeout=_SECONDS_TO_END)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise TrainingError(
                f"stopped by {received()}; open_clip_train saves nothing inside a run, and the same command starts over"
            )
        time.sleep(0.2)
    if process.returncode != 0:
        raise TrainingError(f"open_clip_train ended with exit code {process.returncode}; its last lines are above.")


def _convert(asked: TrainJob, files: CellFiles, run: PeerRun, manifest: SubsetManifest, begun: float) -> None:
    """From what open_clip_train left to checkpoint, record and curve."""
    points = read_curve((run.folder / "run" / "out.log").read_text(encoding="utf-8"), run)
    saved = run.folder / "run" / "checkpoints" / "epoch_1.pt"
    if not points or not saved.is_file():
        raise TrainingError(f"{run.folder / 'run'}: open_clip_train ended without a log of its steps and a checkpoint.")
    state = torch.load(saved, map_location="cpu", weights_only=True)["state_dict"]
    weights = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    tail = [p.loss for p in points if p.step > run.steps - max(1, run.steps // 10)]
    is_whole = all(loss is not None for loss in tail) and all(bool(w.isfinite().all()) for w in weights.values())
    seen = points[-1].samples
    fields = about_cell(asked, manifest, seen) | {
        "state": "trained" if is_whole else "diverged",
        "model_config": model_config_of(asked.recipe["model_config"], run.recipe),
        "recipe": run.recipe.model_dump(),
        "tokenizer_sha256": sha256_file(asked.tokenizer),
        "seen_digest": None,
        "steps": points[-1].step,
        "samples_trained": seen,
        "lost_samples": None,
        "parameters": sum(tensor.numel() for tensor in weights.values()),
        "final_loss": sum(loss for loss in tail if loss is not None) / len(tail) if is_whole else None,
        "seconds": points[-1].seconds,
        "samples_per_second": seen / max(points[-1].seconds, 1.0),
        "events": [],
        "attempts": [{"started": begun, "from_step": 0}],
        "device": run.device,
        "ranks": run.ranks,
        "threads": run.resources.threads,
        "resources": run.resources.model_dump(),
        "provenance": provenance("torch", "open_clip_torch", "numpy"),
    }
    write_curve(files.curve, points)
    write_cell(files, fields, weights)
