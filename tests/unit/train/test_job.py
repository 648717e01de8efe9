"""A whole training job, from what a script asks for to its files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from clip_scaling.errors import TrainingError
from clip_scaling.records.data import PackedManifest
from clip_scaling.records.training import TrainRecord
from clip_scaling.train.job import train_cell

from .tiny_cell import tiny_job


def test_a_line_that_a_full_disk_tore_costs_no_more_than_itself(tmp_path: Path) -> None:
    job, files = tiny_job(tmp_path)
    job.resume.mkdir()
    (job.resume / "attempts.jsonl").write_text('{"host": "a", "started": 1.5, "from_step": 0}\n{"host": "b", "sta')
    assert train_cell(job, files).state == "trained"
    attempts = TrainRecord.read(files.record).attempts
    assert len(attempts) == 2 and attempts[0] == {"host": "a", "started": 1.5, "from_step": 0}
    steps = [json.loads(line)["step"] for line in files.curve.read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_more_readers_than_the_data_has_shards_are_refused_when_it_is_opened(tmp_path: Path) -> None:
    job, files = tiny_job(tmp_path)
    shards = len(PackedManifest.read(job.data).shard_pairs)
    many = replace(job, recipe=job.recipe | {"recipe": job.recipe["recipe"] | {"readers": shards + 1}})
    said = f"{job.data}: {shards + 1} readers for {shards} shards. Set recipe.readers to {shards} or fewer"
    with pytest.raises(TrainingError, match=re.escape(said)):
        train_cell(many, files)
