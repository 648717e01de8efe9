"""A cell of a tiny model on 32 pairs of noise, as the training script takes it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from clip_scaling.data.shards.packed import pack
from clip_scaling.data.sources.iconify.raster import encode
from clip_scaling.models.tokenizer import load_tokenizer, write_merges
from clip_scaling.study.config.training import RECIPE_VERSION, Recipe
from clip_scaling.study.grid import Cell
from clip_scaling.train.job import CellFiles, TrainJob

from ..data.conftest import write_plain_subset
from .conftest import FIELDS, MODEL

PAIRS = 32


def tiny_job(folder: Path, samples: str = "64", workers: int | None = None) -> tuple[TrainJob, CellFiles]:
    """The job, its data written, and its outputs. workers: that stream the pairs; None: they are packed."""
    noise = np.random.default_rng(0).integers(0, 256, (PAIRS, 16, 16, 3), dtype=np.uint8)
    samples_of = ((f"noise/{row}", {"png": encode(noise[row]).png, "txt": b"red"}) for row in range(PAIRS))
    data = write_plain_subset(folder / "subset", samples_of, PAIRS, 8)
    merges = folder / "merges.txt.gz"
    write_merges(merges, ["r e", "re d</w>"])
    model = MODEL | {"text_cfg": MODEL["text_cfg"] | {"vocab_size": load_tokenizer(merges, 6).vocab_size}}
    recipe = {"recipe": Recipe(**FIELDS).model_dump(), "model_config": model, "recipe_version": RECIPE_VERSION}
    train: dict[str, Any] = {"checkpoint_minutes": 60}
    if workers is None:
        pack(folder / "packed", data, merges, 16, 6)
        data = folder / "packed" / "manifest.json"
    else:
        train |= {"input": "stream", "workers": workers}
    cell = Cell.parse(f"Model-tiny_Data-subset_Samples-{samples}_Seed-0")
    files = CellFiles(*(folder / name for name in ("checkpoint.pt", "train.json", "curve.jsonl")))
    return TrainJob(cell, data, merges, recipe, {"train": train}, folder / "resume"), files


def tiny_command(repository: Path, job: TrainJob, files: CellFiles) -> list[str]:
    """The same job as a command."""
    return [
        sys.executable, str(repository / "scripts/train.py"), "cell", "--cell", job.cell.name, "--data", str(job.data),
        "--tokenizer", str(job.tokenizer), "--recipe", json.dumps(job.recipe), "--resources", json.dumps(job.resources),
        "--resume", str(job.resume), "--output", str(files.checkpoint), str(files.record), str(files.curve),
    ]  # fmt: skip
