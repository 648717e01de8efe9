"""A cell through open_clip_train: what it is told, what is refused, what comes back."""

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clip_scaling.data.sources.iconify.raster import encode
from clip_scaling.errors import TrainingError
from clip_scaling.models.checkpoint import load_checkpoint
from clip_scaling.models.tokenizer import vocabulary_size, write_merges
from clip_scaling.records.files import read_json
from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.study.grid import Cell
from clip_scaling.train.job import CellFiles, TrainJob
from clip_scaling.train.peer import (
    PYTHON,
    PeerRun,
    check_recipe,
    loader_workers,
    peer_python,
    read_curve,
    shard_list,
    train_cell_by_peer,
)

from ..data.conftest import write_plain_subset

LOG = """\
2026-11-24,04:00:00 | INFO | Start epoch 0
2026-11-24,04:00:01 | INFO | Train Epoch: 0 [  16/1600 (1%)] Data (t): 0.100 Batch (t): 0.400, 40.0000/s, 40/s/gpu \
LR: 0.000500 Logit Scale: 14.286 Contrastive_loss: 2.7726 (2.7726) Loss: 2.7726 (2.7726)
2026-11-24,04:00:11 | INFO | Train Epoch: 0 [1600/1600 (100%)] Data (t): 0.000 Batch (t): 0.010, 1600.00/s, 1600/s/gpu \
LR: 0.000000 Logit Scale: 20.000 Contrastive_loss: nan (nan) Loss: nan (nan)
"""


def a_run(ranks: int = 1, resources: dict[str, Any] | None = None, **recipe: Any) -> PeerRun:
    fields = {"global_batch_size": 16, "learning_rate": 1e-3, "warmup_fraction": None, "warmup_steps": 2} | recipe
    return PeerRun(
        Recipe(**fields), TrainResources(**(resources or {})), ["/d/shards/00000.tar", "/d/shards/00001.tar"],
        Path("/r"), steps=100, workers=2, seed=7, ranks=ranks, device="cpu",
    )  # fmt: skip


def test_the_recipe_becomes_the_options_of_open_clip_train() -> None:
    given = a_run(ranks=2, resources={"accumulate": 2}, gradient_clip=0.5).arguments()
    pairs = dict(zip(given[::2], given[1::2], strict=False))
    expected = {
        "--train-data": "/d/shards/{00000..00001}.tar", "--train-num-samples": "1600", "--epochs": "1",
        "--model": "local-dir:/r/model", "--batch-size": "4", "--accum-freq": "2", "--lr": "0.001", "--beta1": "0.9",
        "--beta2": "0.98", "--eps": "1e-06", "--wd": "0.2", "--warmup": "2", "--precision": "fp32", "--workers": "2",
        "--seed": "7", "--device": "cpu", "--grad-clip-norm": "0.5",
    }  # fmt: skip
    assert expected.items() <= pairs.items()
    assert {"--local-loss", "--gather-with-grad"} <= set(given)
    assert given[-3:] == ["--aug-cfg", "scale=(1.0,1.0)", "ratio=(1.0,1.0)"]


def test_options_that_a_recipe_does_not_ask_for_are_left_out() -> None:
    given = a_run(gradient_clip=None, crop_scale=(0.9, 1.0)).arguments()
    assert not {"--grad-clip-norm", "--local-loss", "--siglip", "--dataset-resampled", "--torchcompile"} & set(given)
    assert given[-2:] == ["--aug-cfg", "scale=(0.9,1.0)"]
    other = a_run(objective="siglip", sampling="replacement").arguments()
    assert {"--siglip", "--dataset-resampled"} <= set(other)


def test_shards_that_are_not_numbered_through_are_listed() -> None:
    assert shard_list(["/d/0.tar"]) == "/d/0.tar"
    assert shard_list(["/d/08.tar", "/d/09.tar", "/d/10.tar"]) == "/d/{08..10}.tar"
    assert shard_list(["/d/0.tar", "/d/2.tar"]) == "/d/0.tar::/d/2.tar"


def test_workers_share_all_batches_evenly() -> None:
    assert loader_workers(4, batches=100, shards=8) == 4
    assert loader_workers(3, batches=100, shards=8) == 2
    assert loader_workers(4, batches=100, shards=1) == 1
    assert loader_workers(0, batches=100, shards=8) == 0


def test_what_the_peer_cannot_do_is_refused_by_name() -> None:
    wsd = Recipe(schedule="wsd", warmup_steps=10)
    with pytest.raises(TrainingError, match=r"open_clip_train cannot do recipe\.schedule 'wsd'"):
        check_recipe(wsd, TrainResources(), 1, "cpu")
    with pytest.raises(TrainingError, match="recipe.objective 'coca'"):
        check_recipe(Recipe(objective="coca"), TrainResources(), 1, "cpu")
    with pytest.raises(TrainingError, match="parallel 'fsdp2'.*2 ranks on CPUs"):
        check_recipe(Recipe(), TrainResources(parallel="fsdp2"), 2, "cpu")
    check_recipe(Recipe(), TrainResources(), 2, "cuda")


def test_a_missing_environment_is_named_with_the_command_that_makes_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(PYTHON, str(tmp_path / "python"))
    with pytest.raises(TrainingError, match="make env-peers"):
        peer_python()


def test_the_curve_is_read_from_the_peers_log() -> None:
    first, last = read_curve(LOG, a_run())
    assert (first.step, first.samples, first.loss, first.logit_scale) == (1, 16, 2.7726, 14.286)
    assert (first.pairs_per_second, first.data_wait_share, first.seconds) == (40.0, 0.25, 1.0)
    assert first.learning_rate == 0.0005 and first.gradient_norm is None  # warm-up: 1e-3 x 1 / 2
    assert (last.step, last.loss, last.seconds) == (100, None, 11.0)


@pytest.mark.slow
def test_a_cell_runs_through_the_peer(tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = repository / ".venv-peers/bin/python"
    if not python.is_file() or importlib.util.find_spec("open_clip_train") is None:
        pytest.skip("needs `make env-peers`")
    monkeypatch.setenv(PYTHON, str(python))
    noise = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    captions = ["red green"[: 1 + n % 9] for n in range(64)]
    samples = ((f"noise/{n}", {"png": encode(noise[n]).png, "txt": captions[n].encode()}) for n in range(64))
    write_plain_subset(tmp_path / "data", samples, 64, 16)
    merges = tmp_path / "merges.txt.gz"
    write_merges(merges, ["r e", "re d</w>"])
    config: dict[str, Any] = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
        "text_cfg": {"context_length": 6, "vocab_size": vocabulary_size(merges), "width": 16, "heads": 2, "layers": 1},
    }
    recipe = Recipe(global_batch_size=16, warmup_fraction=None, warmup_steps=2, trainer="open_clip_train").model_dump()
    asked = TrainJob(
        cell=Cell("tiny", "noise-64", 160, 3), data=tmp_path / "data/manifest.json", tokenizer=merges,
        recipe={"recipe": recipe, "model_config": config, "recipe_version": 2}, resources={"train": {"workers": 2}},
        resume=tmp_path / "resume",
    )  # fmt: skip
    files = CellFiles(tmp_path / "checkpoint.pt", tmp_path / "train.json", tmp_path / "curve.jsonl")
    train_cell_by_peer(asked, files)
    record = read_json(files.record)
    assert (record["state"], record["steps"], record["samples_seen"], record["epochs"]) == ("trained", 10, 160, 2.5)
    assert record["final_loss"] < 4 and len(files.curve.read_text().splitlines()) == 10
    model, found = load_checkpoint(files.checkpoint)
    assert found["cell"] == asked.cell.name and model.positional_embedding.shape == (6, 16)
