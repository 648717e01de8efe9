"""From a fit to the page: one number, one sense, through law file, table and page."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path

import pandas as pd

from clip_scaling.laws.study import fit_target
from clip_scaling.records.law_tables import LEAVE_OUT
from clip_scaling.records.laws import LawFile
from clip_scaling.report.page import StudyResults, render_report
from clip_scaling.report.read import read_rows


def test_the_page_prints_the_error_of_a_left_out_model_that_the_law_predicts(
    study: StudyResults, repository: Path, tmp_path: Path
) -> None:
    # E = C^-0.1: 10^-0.3 = 0.501 at 10^3 GMAC, ..., and 10^-0.7 = 0.200 at 10^7, which the other models predict.
    models = {"tiny": 1e3, "small": 1e4, "base": 1e5, "large": 1e6, "huge": 1e7}
    runs = pd.DataFrame(
        {
            "cell": [f"cell-{model}" for model in models],
            "model": list(models),
            "compute_gmacs": list(models.values()),
            "value": [1 - compute**-0.1 for compute in models.values()],
        }
    ).assign(dataset="imagenet1k", metric="acc1", source="study", data="d", seed=0, gmacs_per_sample=1.0)
    law = fit_target(
        runs.assign(samples_seen=runs["compute_gmacs"]), "imagenet1k", "acc1", ["ols-all"], leave_out=["huge"]
    )
    file, csv = tmp_path / "law.json", tmp_path / "leave_out.csv"
    law.write(file)
    script = [sys.executable, str(repository / "scripts" / "gather_laws.py"), str(file), "--leave-out", str(csv)]
    subprocess.run(script, check=True)
    page = render_report(dataclasses.replace(study, leave_out=read_rows(csv, LEAVE_OUT)))
    row = page[page.index("cell-huge") :].split("</tr>")[0]
    assert ">0.200 [" in row and '<td class="number">0.200</td>' in row and "<td>yes</td>" in row
    assert "0.800" not in row
    (predicted,) = [row for row in LawFile.read(file).predictions if row.model == "huge"]
    assert (
        predicted.actual is not None and round(predicted.actual, 3) == 0.8
    )  # predictions are in the metric's own sense


def test_a_table_of_left_out_models_with_its_older_column_names_is_read_alike(tmp_path: Path) -> None:
    fixed = "target,metric,source,method,chosen,holdout_mae,cell,compute_gmacs,difference_pp"
    row = "imagenet1k,acc1,study,ols-all,True,0.01,huge,1e7,0.0"
    for name, header in (
        ("old.csv", "actual,predicted,low,high"),
        ("new.csv", "error,predicted_error,predicted_error_low,predicted_error_high"),
    ):
        (tmp_path / name).write_text(f"{fixed},{header}\n{row},0.2,0.2,0.1,0.3\n")
    old, new = (read_rows(tmp_path / name, LEAVE_OUT) for name in ("old.csv", "new.csv"))
    assert old is not None and new is not None and old.equals(new)


def test_the_page_prints_the_exponent_verdict_and_predictions_that_the_fit_gives(
    study: StudyResults, repository: Path, tmp_path: Path
) -> None:
    # E = C^-0.1: alpha -0.1, and an error of 10^-0.7 = 0.200 (accuracy 0.800) at 10^7 GMAC.
    compute = [1e3, 1e4, 1e5, 1e6, 1e7]
    runs = pd.DataFrame({"compute_gmacs": compute, "value": [1 - c**-0.1 for c in compute]}).assign(
        cell=[f"cell-{i}" for i in range(5)], model="m", data="d", seed=0, gmacs_per_sample=1.0, unique_pairs=100,
        samples_seen=compute, dataset="birds", metric="acc1", source="study", ci_low=0.1, ci_high=0.9,
    )  # fmt: skip
    law = fit_target(runs, "birds", "acc1", ["ols-all"])
    file, laws_csv, predictions = (tmp_path / name for name in ("law.json", "laws.csv", "predictions.csv"))
    law.write(file)
    script = [sys.executable, str(repository / "scripts" / "gather_laws.py"), str(file)]
    subprocess.run([*script, "--laws", str(laws_csv), "--predictions", str(predictions)], check=True)
    table = pd.read_csv(laws_csv)
    page = render_report(dataclasses.replace(study, metrics=runs, laws=[LawFile.read(file)], law_table=table))
    (row,) = table.to_dict("records")
    assert (round(row["alpha"], 9), row["verdict"]) == (-0.1, "law")
    assert "error × 0.79" in page  # 10^-0.1 = 0.794
    shown = page[page.index('<h2 id="laws">') :].split("</table>")[0]
    assert ">−0.1" in shown and '<td class="verdict">law</td>' in shown
    largest = pd.read_csv(predictions).iloc[-1]
    assert (round(largest["predicted"], 3), round(largest["actual"], 3)) == (0.8, 0.8)
