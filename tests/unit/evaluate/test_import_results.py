"""Results of clip-benchmark's become rows of the tidy table, and what is not known stays empty."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from clip_scaling.data.evaluation_sets.read import EvaluationSet
from clip_scaling.errors import EvaluationError
from clip_scaling.evaluate.foreign import foreign_model, load_foreign
from clip_scaling.evaluate.import_results import (
    evaluation_of,
    known_results,
    name_runs,
    read_results,
    refuse_repeats,
    tidy_evaluations,
)
from clip_scaling.evaluate.suite import Protocol, SuiteEvaluator
from clip_scaling.models.compute import gmacs_per_sample
from clip_scaling.records.data import EvaluationSetManifest
from clip_scaling.records.evaluation import METRICS_TABLE
from clip_scaling.study.resolve import model_config

from .examples import random_images, write_set
from .test_foreign import SMALL, save_weights

RELEASED = "/models/Model-B-32_Data-80M_Samples-13B_lr-5e-4_bs-32k.pt"


def result(**fields: Any) -> dict[str, Any]:
    return {
        "dataset": "wds/imagenet1k",
        "model": "ViT-B-32",
        "pretrained": RELEASED,
        "task": "zeroshot_classification",
        "metrics": {"acc1": 0.25, "acc5": float("nan"), "mean_per_class_recall": 0.5},
        "language": "en",
    } | fields


def tidy(repository: Path, *results: dict[str, Any], runs: dict[str, Any] | None = None) -> pd.DataFrame:
    def gmacs_of(model: str) -> float:
        return gmacs_per_sample(model_config(model, repository))["total"]

    return tidy_evaluations([evaluation_of(found, gmacs_of, runs or {}) for found in results], "theirs")


def test_a_released_model_brings_its_run(repository: Path) -> None:
    table = tidy(repository, result())
    assert list(table.columns) == METRICS_TABLE.names
    assert dict(zip(table["metric"], table["value"], strict=True)) == {"acc1": 0.25, "mean_per_class_recall": 0.5}
    row = table.iloc[0]
    assert (row["cell"], row["model"], row["data"]) == (Path(RELEASED).stem, "ViT-B-32", "LAION-80M")
    assert (row["dataset"], row["samples_seen"]) == ("imagenet1k", 13e9)
    # The paper's table 11: 7.40 GMAC a sample, both towers.
    assert row["compute_gmacs"] == pytest.approx(7.40 * 13e9, rel=1e-3)
    assert pd.isna(row["n"]) and pd.isna(row["ci_low"])


def test_a_cell_is_known_by_its_folder_and_a_run_by_the_table_beside_it(repository: Path) -> None:
    name = "Model-ViT-nano-8_Data-Icons-2K_Samples-6K_Seed-3"
    table = tidy(repository, result(model="ViT-nano-8", pretrained=f"results/x/train/{name}/checkpoint.pt"))
    assert (table["cell"][0], table["samples_seen"][0], table["seed"][0]) == (name, 6000, 3)
    table = tidy(repository, result(pretrained="laion400m_e32", model="ViT-B-32"))
    assert table["cell"][0] == "ViT-B-32_laion400m_e32" and pd.isna(table["samples_seen"][0])
    known = {"ViT-B-32_laion400m_e32": {"samples_seen": 12.8e9, "data": "LAION-400M"}}
    table = tidy(repository, result(pretrained="laion400m_e32"), runs=known)
    assert table["compute_gmacs"][0] == pytest.approx(7.40 * 12.8e9, rel=1e-3)


def test_a_linear_probe_is_named_by_its_shots(repository: Path) -> None:
    metrics = {"lp_acc1": 0.7, "lp_acc5": 0.9, "weight_decay": 1e-4, "epochs": 10, "seed": 0, "fewshot_k": 10}
    table = tidy(repository, result(task="linear_probe", metrics=metrics))
    assert set(table["dataset"]) == {"linear_probe/imagenet1k-10-shot"}
    assert dict(zip(table["metric"], table["value"], strict=True)) == {"acc1": 0.7, "acc5": 0.9}
    full = tidy(repository, result(task="linear_probe", metrics=metrics | {"fewshot_k": -1}))
    assert full["dataset"][0] == "linear_probe/imagenet1k-full"


def test_multilabel_is_known_by_its_metric(repository: Path) -> None:
    table = tidy(repository, result(metrics={"mean_average_precision": 0.5}))
    assert table["task"][0] == "zeroshot_multilabel"


def test_a_file_that_is_no_result_is_refused(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"dataset": "x"}')
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.csv").write_text("dataset,acc1\nx,1\n")
    (tmp_path / "empty").mkdir()
    for name, said in (("a.json", "model, pretrained, task, metrics is missing"), ("b.json", "cannot be read as JSON")):
        with pytest.raises(EvaluationError, match=said):
            read_results([tmp_path / name])
    with pytest.raises(EvaluationError, match="no column model, pretrained, task"):
        read_results([tmp_path / "c.csv"])
    with pytest.raises(EvaluationError, match="no JSON file in this folder"):
        read_results([tmp_path / "empty"])
    with pytest.raises(EvaluationError, match="no metric that this project knows"):
        evaluation_of(result(metrics={"bleu": 1.0}), lambda model: 1.0, {})


def test_runs_are_told_apart_by_their_folders_and_repeats_name_both_files(repository: Path) -> None:
    two = [result(pretrained=f"/logs/{run}/checkpoints/epoch_32.pt", file=f"{run}.json") for run in ("run1", "run2")]
    names = name_runs(two)
    assert names == ["ViT-B-32_run1_epoch_32", "ViT-B-32_run2_epoch_32"]
    evaluations = [evaluation_of(found, lambda model: 1.0, {}, name) for found, name in zip(two, names, strict=True)]
    refuse_repeats(two, evaluations)
    with pytest.raises(EvaluationError, match="acc1 on imagenet1k is there twice, in run1.json and run2.json"):
        refuse_repeats(two, [evaluations[0], evaluations[0]])
    # Tags of open_clip stay as they are, whatever other models have.
    tags = [result(model=model, pretrained="openai") for model in ("ViT-B-32", "ViT-L-14")]
    assert name_runs(tags) == ["ViT-B-32_openai", "ViT-L-14_openai"]


def test_a_language_is_part_of_the_target(repository: Path) -> None:
    table = tidy(repository, result(), result(language="it"), result(language=None))
    assert table["dataset"].drop_duplicates().tolist() == ["imagenet1k", "imagenet1k-it"]


def test_results_of_other_tasks_are_skipped_and_named(caplog: pytest.LogCaptureFixture) -> None:
    others = [result(task="captioning", metrics={"Bleu_1": 0.5}, file=f"{n}.json") for n in range(7)]
    others.append(result(task="zeroshot_classification", metrics={"bleu": 0.5}, file="x.json"))
    one = result()
    assert known_results([one, *others]) == [one]
    assert "7 results of task captioning are skipped: 0.json, 1.json, 2.json, 3.json, 4.json and 2 more" in caplog.text
    assert "1 results of task zeroshot_classification are skipped: x.json" in caplog.text
    with pytest.raises(EvaluationError, match="no result of a task that this project knows .*there is captioning"):
        known_results(others[:7])


def test_other_files_of_a_folder_are_passed_over_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "a.json").write_text(json.dumps(result()))
    (tmp_path / "config.json").write_text("[1]")
    [found] = read_results([tmp_path])
    assert found["file"] == str(tmp_path / "a.json")
    assert "1 files are no results of clip-benchmark: config.json" in caplog.text


def test_an_older_probe_without_shots_is_of_all_examples(repository: Path) -> None:
    table = tidy(repository, result(task="linear_probe", metrics={"lp_acc1": 0.7}))
    assert table["dataset"].tolist() == ["linear_probe/imagenet1k-full"]


@pytest.mark.slow
def test_what_the_cli_of_clip_benchmark_writes_is_what_we_measure(repository: Path, tmp_path: Path) -> None:
    config = tmp_path / "configs" / "small-peer.json"
    config.parent.mkdir()
    config.write_text(json.dumps(SMALL))
    weights = save_weights(tmp_path / "weights.pt")
    classes, templates = [f"thing {n}" for n in range(6)], ["a {c}"]
    files = {"classnames.txt": "\n".join(classes), "zeroshot_classification_templates.txt": "\n".join(templates)}
    labels = {"cls": [str(n % 6) for n in range(30)]}
    folder = write_set(tmp_path / "things", random_images(30, (20, 31)), labels, files)
    known = f"import open_clip; open_clip.add_model_config({str(config.parent)!r})"
    code = f"{known}; import clip_benchmark.cli as c; c.main()"
    options = ["eval", "--dataset", "wds/things", "--dataset_root", str(folder), "--model", "small-peer"]
    options += ["--pretrained", str(weights), "--no_amp", "--num_workers", "0", "--task", "zeroshot_classification"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    subprocess.run(
        [sys.executable, "-c", code, *options, "--output", str(tmp_path / "peer.json")],
        check=True, env=environment, capture_output=True,
    )  # fmt: skip
    code = "import clip_benchmark.cli as c; c.main()"
    build = ["build", str(tmp_path / "peer.json"), "--output", str(tmp_path / "peer.csv")]
    subprocess.run([sys.executable, "-c", code, *build], check=True, env=environment, capture_output=True)
    command = [sys.executable, "scripts/import_results.py", "--source", "peer", "--csv", str(tmp_path / "tidy.csv")]
    subprocess.run([*command, str(tmp_path / "peer.json")], check=True, cwd=repository, capture_output=True)
    table = pd.read_csv(tmp_path / "tidy.csv")
    assert set(table["metric"]) == {"acc1", "acc5", "mean_per_class_recall"}
    [from_csv] = read_results([tmp_path / "peer.csv"])
    again = tidy(repository, from_csv)
    pd.testing.assert_series_equal(
        again.set_index("metric")["value"].sort_index(), table.set_index("metric")["value"].sort_index()
    )
    manifest = EvaluationSetManifest(
        dataset="things", source="", task="zeroshot_classification", classes=classes, templates=templates, files=[]
    )
    encoder, _ = load_foreign(foreign_model(str(config), weights, {}))
    ours = SuiteEvaluator([EvaluationSet(manifest, folder, "")], Protocol()).run(encoder, "peer")
    theirs = table.set_index("metric")["value"]
    assert {row.metric: row.value for row in ours} == pytest.approx(theirs.to_dict(), abs=1e-6)
