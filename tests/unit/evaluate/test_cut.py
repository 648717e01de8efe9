"""An evaluation cut into jobs: balanced, whole, and with the numbers of one job."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from clip_scaling.data.evaluation_sets.labelled import write_digits
from clip_scaling.data.evaluation_sets.size import SetSize
from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.evaluate.cut import BLOCK_BATCHES, Costs, cut
from clip_scaling.models.build import build_model
from clip_scaling.models.checkpoint import save_checkpoint
from clip_scaling.models.tokenizer import train_merges, write_merges
from clip_scaling.records.evaluation import CheckpointMetrics, EvaluationCut, Piece
from clip_scaling.records.files import sha256_file

from .examples import random_images, write_set
from .test_suite import MODEL


def costs(**images: int) -> Costs:
    return Costs({name: SetSize(count, 0, 0) for name, count in images.items()}, frozenset(), {})


def names(jobs: list[list[Piece]]) -> list[list[str]]:
    return [[piece.dataset for piece in pieces] for pieces in jobs]


def seconds(jobs: list[list[Piece]]) -> list[float]:
    return [sum(piece.seconds for piece in pieces) for pieces in jobs]


def test_one_job_has_all_sets_whole() -> None:
    (pieces,) = cut(costs(a=10, b=100_000), 1, 4096)
    assert [(piece.dataset, piece.split) for piece in pieces] == [("b", None), ("a", None)]


def test_the_longest_goes_first_to_the_job_that_has_least() -> None:
    # By hand: 7 -> 1, 6 -> 2, 5 -> 3, 4 -> 3, 3 -> 2, 2 -> 1.
    jobs = cut(costs(a=2, b=3, c=4, d=5, e=6, f=7), 3, 4096)
    assert names(jobs) == [["f", "a"], ["e", "b"], ["d", "c"]]
    assert seconds(jobs) == [9, 9, 9]


def test_a_job_beyond_the_sets_has_nothing_to_do() -> None:
    assert names(cut(costs(a=2, b=3), 4, 4096)) == [["b"], ["a"], [], []]


def test_a_set_beyond_a_share_is_cut_into_blocks_that_cover_it_once() -> None:
    known = Costs({"big": SetSize(1000, 50, 4000), "small": SetSize(900, 0, 0)}, frozenset({"big"}), {})
    jobs = cut(known, 4, 100)
    whole = [piece for pieces in jobs for piece in pieces]
    assert [piece.dataset for piece in whole if piece.split is None] == ["small"]
    for split, blocks in (("test", 10), ("train", 40)):
        ranges = sorted((piece.first, piece.end) for piece in whole if piece.split == split)
        assert ranges[0][0] == 0 and ranges[-1][1] is None and ranges[-1][0] < blocks
        assert all(before[1] == after[0] for before, after in pairwise(ranges))
    assert sum(seconds(jobs)) == pytest.approx(5900)  # but for the scores, which `evaluate` makes
    assert max(seconds(jobs)) - min(seconds(jobs)) <= 100  # a block
    assert max(len(pieces) for pieces in jobs) <= 2
    assert names(cut(known, 4, 100, may_cut_sets=False)) == [["big"], ["small"], [], []]


def test_what_was_recorded_goes_before_images_and_sets_the_pace_of_the_rest() -> None:
    sizes = {"a": SetSize(100, 10, 0), "b": SetSize(300, 40, 50), "c": SetSize(10, 0, 0)}
    known = Costs(
        sizes, frozenset({"b"}), {"a": {"test": 50.0, "measure": 1.0}, "b": {"train": 100.0}, "z": {"test": 9.0}}
    )
    assert known.pace == 1.0  # 150 s of 150 images
    assert [known.of(name) for name in sizes] == [
        {"test": 50.0, "measure": 1.0},
        {"test": 300.0, "train": 100.0, "measure": 40.0},
        {"test": 10.0, "measure": 0.0},
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights, its tokenizer, the digits, pictures with several labels, and captions."""
    root = tmp_path_factory.mktemp("cut")
    write_merges(root / "merges.txt.gz", train_merges(["the digit one two three"] * 3, 600))
    torch.manual_seed(0)
    about = {"cell": "c", "state": "trained", "model_config": MODEL}
    about["tokenizer_sha256"] = sha256_file(root / "merges.txt.gz")
    save_checkpoint(root / "checkpoint.pt", build_model(MODEL).state_dict(), about)
    write_digits(root / "eval-digits", "digits")
    captions = {"txt": [f"one {row}\ntwo {row}" for row in range(40)]}
    write_set(root / "pairs", random_images(40, (16, 16)), captions, {"dataset_type.txt": "retrieval"})
    index_evaluation_set(root / "eval-pairs", "pairs", root / "pairs")
    files = {"classnames.txt": "one\ntwo", "zeroshot_classification_templates.txt": "a {c}"}
    write_set(root / "plain", random_images(30, (16, 16)), {"cls": list("01" * 15)}, files)
    index_evaluation_set(root / "eval-plain", "plain", root / "plain")
    return root


SUITE = {
    "probes": {"digits": [5, "full"]},
    "linear_probe": {"learning_rates": [0.1], "epochs": [20], "draws": 2},
    "aggregates": [{"dataset": "mean", "metric": "acc1", "of": ["digits", "plain"]}],
}


def evaluate(repository: Path, place: Path, folder: Path, *more: str) -> CheckpointMetrics:
    """Run the script with small batches, so that the digits have 12 blocks (of 32 images) and their train split 45."""
    done = subprocess.run(
        [sys.executable, "scripts/evaluate.py", "--checkpoint", place / "checkpoint.pt", "--batch-size", "2", "--sets",
         *(place / f"eval-{name}" / "manifest.json" for name in ("digits", "pairs", "plain")), "--tokenizer",
         place / "merges.txt.gz", "--loss-batch-size", "10", "--suite", json.dumps(SUITE), "--store", folder / "store",
         "--output", folder / "metrics.json", *more],
        cwd=repository, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout if more else CheckpointMetrics.read(folder / "metrics.json")


@pytest.mark.slow
def test_three_jobs_give_the_metrics_of_one_to_the_bit(place: Path, tmp_path: Path, repository: Path) -> None:
    one = evaluate(repository, place, tmp_path / "one")
    sets = [str(place / f"eval-{name}" / "manifest.json") for name in ("digits", "pairs", "plain")]
    command = [sys.executable, "scripts/cut_evaluation.py", "--sets", *sets, "--suite", json.dumps(SUITE)]
    command += ["--batch-size", "2", "--jobs", "3", "--evaluations", str(tmp_path / "none"), "--model", "m"]
    path = tmp_path / "cut.json"
    subprocess.run([*command, "--output", str(path)], cwd=repository, check=True, capture_output=True)
    jobs = EvaluationCut.read(path).jobs
    assert BLOCK_BATCHES == 16 and {piece.split for pieces in jobs for piece in pieces} == {None, "test", "train"}
    for job in (2, 3, 1):
        share = ["--cut", str(path), "--job", str(job), "--output", str(tmp_path / f"{job}.json")]
        evaluate(repository, place, tmp_path / "three", *share)
    stored = {file.name for file in (tmp_path / "three" / "store").iterdir()}
    three = evaluate(repository, place, tmp_path / "three")
    without_times = {"seconds", "provenance"}
    assert three.model_dump(exclude=without_times) == one.model_dump(exclude=without_times)
    assert three.seconds is not None and three.seconds.keys() == {"digits", "pairs", "plain"}
    command[command.index(str(tmp_path / "none"))] = str(tmp_path)  # where the first evaluation is, `one/metrics.json`
    subprocess.run([*command, "--output", str(path)], cwd=repository, check=True, capture_output=True)
    assert one.seconds is not None
    for piece in (piece for pieces in EvaluationCut.read(path).jobs for piece in pieces if piece.split is None):
        assert piece.seconds == pytest.approx(sum(one.seconds[piece.dataset].values()))
    # The sets that were whole were measured by the jobs, and every image of the digits was encoded there.
    assert sum(name.endswith(".scores.json") for name in stored) == 2
    assert sum(name.endswith(".features.safetensors") for name in stored) == 2 + 12 + 45
