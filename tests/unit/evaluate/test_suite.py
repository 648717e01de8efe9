"""A suite on one checkpoint: what was measured before is not measured again, and what changed is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from clip_scaling.data.evaluation_sets.labelled import write_digits
from clip_scaling.data.evaluation_sets.read import open_set
from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.errors import EvaluationError, ManifestError
from clip_scaling.evaluate import suite
from clip_scaling.evaluate.store import Store
from clip_scaling.evaluate.suite import Protocol, SuiteEvaluator
from clip_scaling.models.build import build_model, model_config_of
from clip_scaling.models.checkpoint import save_checkpoint
from clip_scaling.models.encode import load_cell, load_state
from clip_scaling.models.tokenizer import train_merges, write_merges
from clip_scaling.records.evaluation import CheckpointMetrics, Measured
from clip_scaling.records.files import read_json, sha256_file
from clip_scaling.study.config.evaluation import Aggregate, LinearProbes
from clip_scaling.study.config.training import Recipe
from clip_scaling.train.state import write_state

from .examples import random_images, write_set

MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 8, "vocab_size": 600, "width": 16, "heads": 2, "layers": 1},
}
RECIPE = {"global_batch_size": 8, "learning_rate": 1e-3, "objective": "siglip"}
PROBES = LinearProbes(learning_rates=[0.1], epochs=[40], draws=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with random weights, its tokenizer, and the digits."""
    root = tmp_path_factory.mktemp("suite")
    write_merges(root / "merges.txt.gz", train_merges(["the digit one two three"] * 3, 600))
    torch.manual_seed(0)
    about = {"cell": "c", "state": "trained", "model_config": MODEL}
    about["tokenizer_sha256"] = sha256_file(root / "merges.txt.gz")
    save_checkpoint(root / "checkpoint.pt", build_model(MODEL).state_dict(), about)
    save_checkpoint(root / "diverged.pt", build_model(MODEL).state_dict(), about | {"state": "diverged"})
    write_digits(root / "eval-digits", "digits")
    return root


def measured(
    place: Path, manifests: list[Path], protocol: Protocol, store: Store, checkpoint: str = "checkpoint.pt"
) -> list[Measured]:
    encoder, about = load_cell(place / checkpoint, place / "merges.txt.gz")
    evaluator = SuiteEvaluator(list(map(open_set, manifests)), protocol, store)
    return evaluator.run(encoder, about["cell"]) if encoder else []


def evaluate(place: Path, store: Store | None = None, checkpoint: str = "checkpoint.pt", **protocol: Any) -> dict:
    manifests = [place / "eval-digits" / "manifest.json"]
    asked = Protocol(linear_probe=PROBES, **protocol)
    rows = measured(place, manifests, asked, store or Store(None), checkpoint)
    return {(row.dataset, row.metric): row for row in rows}


def test_digits_have_a_training_and_a_test_split(place: Path) -> None:
    manifest = read_json(place / "eval-digits" / "manifest.json")
    # 1,797 images; a fifth of each class of 174 to 183 is the test split.
    assert (manifest["n_train"], manifest["n"]) == (1438, 359)
    assert len(manifest["classes"]) == 10


def test_zeroshot_and_probes_are_measured(place: Path) -> None:
    rows = evaluate(place, probes={"digits": [10, "full"]})
    full, few = rows["linear_probe/digits-full", "acc1"], rows["linear_probe/digits-10-shot", "acc1"]
    assert rows["digits", "acc1"].n == full.n == 359
    # Random features of digits separate them well; a random zero-shot classifier does not.
    assert full.value > 0.5 and full.value > few.value > 0.2
    assert rows["digits", "acc1"].value < 0.4


def test_what_is_stored_is_not_computed_again(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    first = evaluate(place, store, probes={"digits": ["full"]})
    encoded: list[str] = []
    original = suite.encode_set
    monkeypatch.setattr(suite, "encode_set", lambda *args: encoded.append("set") or original(*args))
    again = evaluate(place, store, probes={"digits": ["full"]})
    assert again == first and not encoded
    assert [row.model_fields_set for row in again.values()] == [row.model_fields_set for row in first.values()]
    more = evaluate(place, store, probes={"digits": ["full", 5]})
    assert ("linear_probe/digits-5-shot", "acc1") in more and not encoded  # from the stored features
    for path in tmp_path.glob("*.scores.json"):
        path.unlink()
    for path in tmp_path.glob("*.features.safetensors"):
        path.write_bytes(b"torn")
    assert evaluate(place, store, probes={"digits": ["full"]}) == first
    assert len(encoded) == 2  # train and test


def test_another_checkpoint_is_measured_again(place: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = evaluate(place, store)
    torch.manual_seed(1)
    about = {"cell": "c", "state": "trained", "model_config": MODEL}
    about["tokenizer_sha256"] = sha256_file(place / "merges.txt.gz")
    save_checkpoint(place / "other.pt", build_model(MODEL).state_dict(), about)
    assert evaluate(place, store, "other.pt") != first


def test_the_store_keeps_to_its_cap(place: Path, tmp_path: Path) -> None:
    evaluate(place, Store(tmp_path, max_bytes=10_000), probes={"digits": ["full"]})
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 10_000
    evaluate(place, Store(tmp_path / "none", max_bytes=0))
    assert not (tmp_path / "none").exists()


def test_a_diverged_checkpoint_has_no_metrics(place: Path) -> None:
    assert evaluate(place, checkpoint="diverged.pt") == {}


def test_means_are_taken_over_what_was_measured(place: Path) -> None:
    mean = Aggregate(dataset="mean", metric="acc1", of=["digits", "linear_probe/digits-full"])
    rows = evaluate(place, probes={"digits": ["full"]}, aggregates=[mean])
    parts = [rows[name, "acc1"].value for name in mean.of]
    assert rows["mean", "acc1"].value == pytest.approx(sum(parts) / 2)
    with pytest.raises(EvaluationError, match="aggregate mean: acc1 was not measured on linear_probe/digits-full"):
        evaluate(place, aggregates=[mean])


def test_a_set_that_changed_is_named(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "copy")
    with (tmp_path / "copy" / "eval-digits" / "test" / "0.tar").open("ab") as tar:
        tar.write(b"more")
    with pytest.raises(ManifestError, match=r"test/0\.tar: .* bytes"):
        evaluate(tmp_path / "copy")


def test_a_folder_of_clip_benchmarks_is_indexed_in_place(place: Path, tmp_path: Path) -> None:
    files = {"classnames.txt": "one\ntwo", "zeroshot_classification_templates.txt": "a {c}"}
    folder = write_set(tmp_path / "wds_x", random_images(6, (20, 20)), {"cls": list("010101")}, files)
    index_evaluation_set(tmp_path / "eval-x", "x", folder)
    assert {path.name for path in (tmp_path / "eval-x").iterdir()} == {"manifest.json", ".manifest.json.sha256"}
    rows = measured(place, [tmp_path / "eval-x" / "manifest.json"], Protocol(), Store(None))
    assert {row.metric: row.n for row in rows} == {"acc1": 6, "mean_per_class_recall": 6}


def test_a_label_without_a_class_name_is_refused(place: Path, tmp_path: Path) -> None:
    files = {"classnames.txt": "one\ntwo", "zeroshot_classification_templates.txt": "a {c}"}
    folder = write_set(tmp_path / "wds_x", random_images(3, (16, 16)), {"cls": ["0", "1", "2"]}, files)
    index_evaluation_set(tmp_path / "eval-x", "x", folder)
    with pytest.raises(EvaluationError, match="labels of 3 classes, but 2 class names"):
        measured(place, [tmp_path / "eval-x" / "manifest.json"], Protocol(), Store(None))


def test_a_state_saved_in_training_is_measured_like_a_checkpoint(place: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    write_state(tmp_path / "state.pt", {"model": build_model(MODEL).state_dict(), "progress": {"step": 7}})
    encoder, about = load_state(tmp_path / "state.pt", place / "merges.txt.gz", MODEL)
    rows = SuiteEvaluator([open_set(place / "eval-digits" / "manifest.json")], Protocol()).run(encoder, "c")
    assert {(row.dataset, row.metric): row for row in rows} == evaluate(place)
    assert about["step"] == 7
    deeper = MODEL | {"text_cfg": MODEL["text_cfg"] | {"layers": 2}}
    with pytest.raises(EvaluationError, match="weights do not fit"):
        load_state(tmp_path / "state.pt", place / "merges.txt.gz", deeper)
    with pytest.raises(EvaluationError, match="not a saved state of training"):
        load_state(place / "checkpoint.pt", place / "merges.txt.gz", MODEL)


@pytest.mark.slow
def test_one_process_evaluates_several_checkpoints(place: Path, tmp_path: Path, repository: Path) -> None:
    torch.manual_seed(1)
    config = model_config_of(MODEL, Recipe.model_validate(RECIPE))  # SigLIP's has a bias beside the scale
    write_state(tmp_path / "a.pt", {"model": build_model(config).state_dict(), "progress": {"step": 1}})
    write_state(tmp_path / "b.pt", {"model": build_model(config).state_dict(), "progress": {"step": 2}})
    command = [sys.executable, "scripts/evaluate.py", "--sets", str(place / "eval-digits" / "manifest.json")]
    command += ["--tokenizer", str(place / "merges.txt.gz"), "--cell", "c"]
    command += ["--recipe", json.dumps({"recipe": RECIPE, "model_config": MODEL})]
    command += ["--checkpoint", str(tmp_path / "a.pt"), str(tmp_path / "b.pt")]
    outputs = [tmp_path / "a.json", tmp_path / "b.json"]
    subprocess.run([*command, "--output", *map(str, outputs)], check=True, cwd=repository, capture_output=True)
    first, second = map(CheckpointMetrics.read, outputs)
    assert (first.step, first.samples_seen, second.step) == (1, 8, 2)
    assert first.metrics != second.metrics


def test_what_cannot_be_read_is_an_error_or_left_out_and_counted(place: Path, tmp_path: Path) -> None:
    files = {"classnames.txt": "one\ntwo", "zeroshot_classification_templates.txt": "a {c}"}
    folder = write_set(tmp_path / "wds_x", random_images(6, (20, 20)), {"cls": list("01x101")}, files)
    index_evaluation_set(tmp_path / "eval-x", "x", folder)
    manifests = [tmp_path / "eval-x" / "manifest.json"]

    def rows(**protocol: Any) -> list[Measured]:
        return measured(place, manifests, Protocol(**protocol), Store(None))

    with pytest.raises(EvaluationError, match=r"0\.tar: 002: its label or caption cannot be read"):
        rows()
    assert {(row.n, row.skipped) for row in rows(on_unreadable="skip", batch_size=2)} == {(5, 1)}


def test_a_signal_ends_an_evaluation_with_75_and_the_same_command_goes_on(
    place: Path, tmp_path: Path, repository: Path
) -> None:
    command = [sys.executable, "scripts/evaluate.py", "--sets", str(place / "eval-digits" / "manifest.json")]
    command += ["--tokenizer", str(place / "merges.txt.gz"), "--checkpoint", str(place / "checkpoint.pt")]
    command += ["--store", str(tmp_path / "store"), "--output", str(tmp_path / "metrics.json")]

    def signalled() -> None:
        """It waits for the process from its first moment on."""
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
        os.kill(os.getpid(), signal.SIGUSR2)

    ended = subprocess.run(command, cwd=repository, capture_output=True, text=True, preexec_fn=signalled)
    assert (ended.returncode, ended.stdout) == (75, "stopped by SIGUSR2: the same command goes on from the store\n")
    assert not (tmp_path / "metrics.json").exists()
    subprocess.run(command, cwd=repository, check=True, capture_output=True)
    metrics = CheckpointMetrics.read(tmp_path / "metrics.json")
    assert metrics.metrics and metrics.seconds and metrics.seconds["digits"].keys() == {"test", "measure"}


def test_each_metric_says_its_number_format(place: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    plain = evaluate(place, store)
    rough = evaluate(place, store, precision="bf16")
    assert {row.precision for row in plain.values()} == {"fp32"}
    assert {row.precision for row in rough.values()} == {"bf16"}
    assert evaluate(place, store) == plain  # each is stored under its own key
    with pytest.raises(EvaluationError, match="'tf32' needs a CUDA device"):
        evaluate(place, precision="tf32")


def test_scores_of_before_numbers_had_a_format_stay_valid(place: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    first = evaluate(place, store)
    for path in tmp_path.glob("*.scores.json"):
        content = read_json(path)
        for row in content["rows"]:
            del row["precision"]
        del content["sha256"]  # nor had they a hash
        path.write_text(json.dumps(content))
    for path in tmp_path.glob("*.features.safetensors"):
        path.unlink()
    again = evaluate(place, store)
    assert {row.precision for row in again.values()} == {None} and not list(tmp_path.glob("*.features.safetensors"))
    assert [row.value for row in again.values()] == [row.value for row in first.values()]
