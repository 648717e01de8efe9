"""A whole training job, from what a script asks for to its files."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from clip_scaling.errors import ClipScalingError, EvaluationError, ManifestError, TrainingError
from clip_scaling.models.checkpoint import load_checkpoint, read_state
from clip_scaling.records.data import PackedManifest
from clip_scaling.records.made import Attempt
from clip_scaling.records.training import TrainRecord
from clip_scaling.train.job import train_cell
from clip_scaling.train.state import write_state

from .tiny_cell import tiny_job


def test_a_line_that_a_full_disk_tore_costs_no_more_than_itself(tmp_path: Path) -> None:
    job, files = tiny_job(tmp_path)
    job.resume.mkdir()
    (job.resume / "attempts.jsonl").write_text('{"host": "a", "started": 1.5, "from_step": 0}\n{"host": "b", "sta')
    assert train_cell(job, files).state == "trained"
    attempts = TrainRecord.read(files.record).attempts
    assert len(attempts) == 2 and attempts[0] == Attempt(host="a", started=1.5, from_step=0)
    steps = [json.loads(line)["step"] for line in files.curve.read_text().splitlines()]
    assert steps == [1, 2, 3, 4]


def test_more_readers_than_the_data_has_shards_are_refused_when_it_is_opened(tmp_path: Path) -> None:
    job, files = tiny_job(tmp_path)
    shards = len(PackedManifest.read(job.data).shard_pairs)
    many = replace(job, recipe=job.recipe | {"recipe": job.recipe["recipe"] | {"readers": shards + 1}})
    said = f"{job.data}: {shards + 1} readers for {shards} shards. Set recipe.readers to {shards} or fewer"
    with pytest.raises(TrainingError, match=re.escape(said)):
        train_cell(many, files)


def flip(path: Path, place: int) -> None:
    """Change one bit."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["pixels.npy", "tokens.npy"])
def test_a_changed_byte_of_packed_pairs_ends_the_training_before_its_first_step(tmp_path: Path, name: str) -> None:
    job, files = tiny_job(tmp_path)
    flip(tmp_path / "packed" / name, -5)
    with pytest.raises(ManifestError, match=rf"{name}: sha256 differs.*Delete .*packed/manifest.json"):
        train_cell(job, files)


def test_weights_that_are_not_those_of_the_record_are_not_evaluated(tmp_path: Path) -> None:
    job, files = tiny_job(tmp_path)
    train_cell(job, files)
    load_checkpoint(files.checkpoint)
    whole = torch.load(files.checkpoint, weights_only=True)
    whole["state_dict"]["logit_scale"] += 0.01
    torch.save(whole, files.checkpoint)
    with pytest.raises(
        EvaluationError, match=r"checkpoint.pt: damaged: weights_sha256 not as in the record of training beside it"
    ):
        load_checkpoint(files.checkpoint)


def test_every_flipped_byte_of_a_checkpoint_is_found(tmp_path: Path) -> None:
    job, files = tiny_job(tmp_path)
    train_cell(job, files)
    whole = files.checkpoint.read_bytes()
    model, about = load_checkpoint(files.checkpoint)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for place in range(0, len(whole), len(whole) // 150):
        flip(files.checkpoint, place)
        try:
            model, found = load_checkpoint(files.checkpoint)
        except ClipScalingError:
            pass
        else:  # a byte that says nothing, such as a date in the archive
            assert found == about and all(torch.equal(expected[key], each) for key, each in model.state_dict().items())
        files.checkpoint.write_bytes(whole)


def test_a_changed_byte_of_a_trunks_state_is_found(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    write_state(path, {"weights": torch.zeros(1000)})
    read_state(path)
    flip(path, path.stat().st_size // 2)
    with pytest.raises(TrainingError, match=r"state.pt: damaged: its sha256"):
        read_state(path)
