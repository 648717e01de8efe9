import base64
import dataclasses
import gzip
import json
import random

import pandas as pd
import pytest

from clip_scaling.records.laws import Comparison, ExponentByChoice, LawFile
from clip_scaling.records.made import Attempt
from clip_scaling.records.training import TrainRecord
from clip_scaling.report.account import (
    comparison_rows,
    cost_rows,
    event_rows,
    left_out_rows,
    sensitivity_rows,
    unsupported,
)
from clip_scaling.report.bundle import pack
from clip_scaling.report.explorer import CURVE_POINTS, explorer_data, quantity_title
from clip_scaling.report.page import StudyResults, render_report

from ..records.filled import filled, law_file, plan_file
from .conftest import make_fit


def seconds_of(records: list[TrainRecord]) -> dict[str, float]:
    return {record.cell: record.seconds for record in records}


def test_cost_is_planned_against_used_with_the_hours_lost(records: list[TrainRecord]) -> None:
    records[0] = records[0].model_copy(update={"attempts": [Attempt(), Attempt(lost_seconds=1800.0)]})
    plan = plan_file({record.cell: 0.25 for record in records})
    rows = {row["model"]: row for row in cost_rows(records, seconds_of(records), plan)}
    # 6 cells x 300 s x 2 threads = 1 core-hour against 6 x 0.25; half an hour of two threads was lost.
    assert rows["ViT-small"] == pytest.approx(
        {"model": "ViT-small", "cells": 6, "attempts": 7, "planned": 1.5, "used": 1.0, "lost": 1.0, "ratio": 1 / 1.5}
    )
    assert rows["all"]["used"] == pytest.approx(2.0) and rows["ViT-large"]["lost"] == 0


def test_what_was_not_planned_is_unknown_and_never_zero(records: list[TrainRecord]) -> None:
    plan = plan_file({record.cell: 0.25 for record in records[1:]})
    rows = {row["model"]: row for row in cost_rows(records, seconds_of(records), plan)}
    assert rows["ViT-small"]["planned"] is None and rows["ViT-small"]["ratio"] is None
    assert rows["ViT-large"]["planned"] == 1.5
    assert cost_rows(records, seconds_of(records), None)[0]["planned"] is None
    assert cost_rows([], {}, None) == []


def test_instabilities_are_listed_with_their_cell(records: list[TrainRecord]) -> None:
    event = {"step": 7, "kind": "spike", "loss": 9.0, "gradient_norm": None, "action": "skip"}
    records[3] = records[3].model_copy(update={"events": [event]})
    assert event_rows(records) == [{"cell": records[3].cell, **event}]


def test_the_range_of_the_exponent_is_told_and_a_change_of_its_sign(law: LawFile) -> None:
    choices = [filled(ExponentByChoice, source="study", alpha=alpha) for alpha in (-0.3, -0.2, 0.1)]
    (row,) = sensitivity_rows([law_file(fits=law.fits, sensitivity=choices)], {})
    assert (row["choices"], row["least"], row["median"], row["greatest"]) == (3, "-0.300", "-0.200", "0.100")
    assert row["changes_sign"] and row["file"] == "laws/icons/acc1.json"


def test_what_the_data_do_not_support_is_said_in_words(
    metrics: pd.DataFrame, law: LawFile, no_law: LawFile, records: list[TrainRecord]
) -> None:
    metrics.loc[0, "value"] = float("nan")
    records[0] = records[0].model_copy(update={"state": "diverged"})
    reserved = law_file(metric="acc5", fits=[make_fit("law, not significant: 3 points")])
    found = {row["about"]: row["says"] for row in unsupported(metrics, [law, no_law, reserved], {}, records)}
    assert found["Laws"].startswith("of 3 headline fits 1 are no law, and 1 are laws with a reservation")
    assert found["captions, contrastive loss"] == "no law: flat, over all 12 runs the exponent is −0.0012"
    assert found["icons, top-5 accuracy"] == "not significant: 3 points"
    assert found["Measurements"] == "1 values of the table are missing"
    assert "one seed" in found["Noise"]
    assert records[0].cell in found["Cells"]
    assert "icons, top-1 accuracy" not in found


def test_comparisons_tell_the_headline_method_of_the_first_source(law: LawFile) -> None:
    row = {"first": "study", "second": "other", "difference": -0.1, "difference_low": -0.2, "difference_high": 0.0}
    rows = [filled(Comparison, method=method, **row) for method in ("ols-all", "binned-min-5")]
    (row,) = comparison_rows([law_file(fits=law.fits, comparisons=rows)], {})
    assert (row["pair"], row["method"], row["difference"]) == ("study and other", "ols-all", "−0.10 [−0.20, 0.00]")


def test_models_left_out_are_held_against_their_interval() -> None:
    row = {"target": "icons", "metric": "acc1", "cell": "big", "method": "ols-all", "chosen": True}
    row |= {"predicted_error": 0.2, "predicted_error_low": 0.15, "predicted_error_high": 0.3}
    table = pd.DataFrame(
        [
            row | {"error": 0.25},
            row | {"error": 0.1},
            row | {"error": 0.1, "chosen": False},
        ]
    )
    rows = left_out_rows(table)
    assert [(one["predicted"], one["measured"], one["inside"]) for one in rows] == [
        ("0.200 [0.150, 0.300]", "0.250", True),
        ("0.200 [0.150, 0.300]", "0.100", False),
    ]
    assert left_out_rows(None) == []


def test_files_are_packed_whole_and_the_last_ones_are_left_out_where_there_is_no_room() -> None:
    files = {"a.json": "α" * 10, "b.csv": "x,y\n1,2\n", "c.txt": "".join(chr(33 + i * i % 90) for i in range(4000))}
    everything = pack(files, 10_000)
    assert json.loads(gzip.decompress(base64.b64decode(everything.text))) == files
    assert (everything.names, everything.left_out) == (("a.json", "b.csv", "c.txt"), ())
    some = pack(files, 150)
    assert (some.names, some.left_out) == (("a.json", "b.csv"), ("c.txt",))
    assert len(some.text) <= 150
    assert pack(files, 10).names == ()


def test_a_page_that_would_be_too_large_leaves_files_out_and_says_so(
    study: StudyResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = "".join(random.Random(0).choices("0123456789", k=200_000))
    large = dataclasses.replace(study, files={"tables/laws.csv": "a", "tables/noise.csv": noise})
    whole = len(render_report(large).encode())
    monkeypatch.setattr("clip_scaling.report.page.MAX_PAGE_BYTES", whole - 1000)
    page = render_report(large)
    assert len(page.encode()) <= whole - 1000
    assert "1 did not fit" in page and "tables/noise.csv</a> (beside the page)" in page


def test_points_of_the_charts_are_errors_with_their_interval_turned_round(
    metrics: pd.DataFrame, law: LawFile, no_law: LawFile, records: list[TrainRecord]
) -> None:
    data = explorer_data(metrics, [law, no_law], {}, records, {})
    # value 0.1 with interval 0.08 to 0.11 is an error of 0.9 with 0.89 to 0.92; a loss of 4.5 stays as it is.
    accuracy = [point for point in data["targets"][0]["points"] if point[1] == 0.9]
    assert accuracy[0][2:] == [0.89, 0.92]
    loss = [point for point in data["targets"][1]["points"] if point[1] == 4.5]
    assert loss[0][2:] == [4.48, 4.51]
    assert data["cells"][0]["recipe"] == {"learning_rate": 0.002, "global_batch_size": 256}
    assert data["cells"][0]["made"]["code"] == "abc123"


def test_curves_are_thinned_evenly_on_their_logarithmic_axis_and_keep_both_ends(
    metrics: pd.DataFrame, law: LawFile
) -> None:
    cell = metrics["cell"].iloc[0]
    curve = pd.DataFrame({"samples": range(1, 10_001), "loss": [1.0] * 10_000})
    (thinned,) = explorer_data(metrics, [law], {}, [], {cell: curve})["curves"]
    assert len(thinned["samples"]) <= CURVE_POINTS
    assert (thinned["samples"][0], thinned["samples"][-1]) == (1, 10_000)
    decades = [sum(low <= s < 10 * low for s in thinned["samples"]) for low in (100, 1000)]
    assert abs(decades[0] - decades[1]) <= 1


def test_quantities_of_curves_are_named_in_words() -> None:
    assert quantity_title("loss") == "training loss (nats)"
    assert quantity_title("icons/acc1") == "icons, top-1 accuracy, validated while training"
    assert quantity_title("captions/contrastive_loss") == "captions, contrastive loss (nats), validated while training"
