"""The tidy table of metrics and the table of the learning-rate search."""

from pathlib import Path

import pytest

from clip_scaling.errors import ManifestError
from clip_scaling.evaluate.collect import collect_cells, collect_metrics, gather_learning_rates
from clip_scaling.records.evaluation import LEARNING_RATES_TABLE, METRICS_TABLE
from clip_scaling.records.files import write_json
from clip_scaling.study.paths import StudyPaths

from ..records.examples import train_record


def write_cell(root: Path, cell: str, value: float, says: str | None = None) -> None:
    paths = StudyPaths("s", root)
    write_json(paths.trained(cell), train_record(cell))
    metric = {"dataset": "s", "task": "t", "metric": "acc1", "value": value, "ci_low": 0.1, "ci_high": 0.9, "n": 7}
    write_json(paths.metrics(cell), {"cell": says or cell, "metrics": [metric]})


def test_one_row_a_metric_in_the_order_of_the_grid(tmp_path: Path) -> None:
    for cell, value in (("a", 0.25), ("b", 0.5)):
        write_cell(tmp_path, cell, value)
    table = collect_metrics(["b", "a"], StudyPaths("s", tmp_path), {"a": "study", "b": "other"}, {})
    assert list(table.columns) == METRICS_TABLE.names
    assert table["cell"].tolist() == ["b", "a"] and table["value"].tolist() == [0.5, 0.25]
    assert table["compute_gmacs"].tolist() == [128.0, 128.0] and table["source"].tolist() == ["other", "study"]


def test_a_cell_without_metrics_is_named(tmp_path: Path) -> None:
    write_cell(tmp_path, "a", 0.25)
    StudyPaths("s", tmp_path).metrics("a").unlink()
    with pytest.raises(ManifestError, match=r"evaluate/a/metrics\.json: no such file"):
        collect_metrics(["a"], StudyPaths("s", tmp_path), {"a": "study"}, {})


def test_metrics_of_another_cell_are_refused(tmp_path: Path) -> None:
    write_cell(tmp_path, "a", 0.25, says="z")
    with pytest.raises(ManifestError, match=r"evaluate/a/metrics\.json: it is of z, not of a"):
        collect_metrics(["a"], StudyPaths("s", tmp_path), {"a": "study"}, {})


def test_a_cell_has_one_row_with_its_epochs_and_the_numbers_of_its_events_and_attempts(tmp_path: Path) -> None:
    events = [{"step": 1, "kind": "spike"}] * 3
    write_json(StudyPaths("s", tmp_path).trained("a"), train_record("a", state="diverged", events=events))
    [row] = collect_cells(["a"], StudyPaths("s", tmp_path)).to_dict("records")
    assert (row["cell"], row["state"], row["events"], row["attempts"]) == ("a", "diverged", 3, 1)
    assert row["epochs"] == 2.56  # 256 samples of 100 pairs


def test_the_rate_with_the_lowest_loss_of_each_model_is_marked(tmp_path: Path) -> None:
    paths = []
    for model, rate, loss in (("m", 1e-3, 3.0), ("m", 2e-3, 2.5), ("n", 1e-3, 4.0), ("n", 2e-3, 4.5)):
        path = tmp_path / f"{model}{rate}.json"
        recipe = {"learning_rate": rate, "global_batch_size": 8}
        write_json(path, train_record("c", model=model, recipe=recipe, final_loss=loss))
        paths.append(path)
    table = gather_learning_rates(paths)
    assert list(table.columns) == LEARNING_RATES_TABLE.names
    assert table.loc[table["chosen"], ["model", "learning_rate"]].values.tolist() == [["m", 2e-3], ["n", 1e-3]]
