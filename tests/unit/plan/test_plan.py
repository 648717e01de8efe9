"""The states of cells with their reasons, the sums, the difference to the last plan, and the budget."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from clip_scaling.errors import ConfigError
from clip_scaling.plan.budget import cells_that_fit, check_budget
from clip_scaling.plan.files import full_plan, write_plan
from clip_scaling.plan.render import text_plan
from clip_scaling.plan.sums import difference, total, totals
from clip_scaling.plan.table import make_plan
from clip_scaling.study.config.resources import Budget
from clip_scaling.study.resolve import load_study
from clip_scaling.study.resolved import ResolvedStudy

from ..records.manifests import subset_manifest
from .finished import finish


def test_a_study_without_results_is_all_to_run(study: ResolvedStudy, tmp_path: Path) -> None:
    plan = make_plan(study, tmp_path)
    assert {(row.state, row.reason) for row in plan.rows} == {("run", "no result yet")}
    assert [row.cell for row in plan.rows] == list(study.cells)


def test_a_finished_cell_is_skipped_and_a_changed_rate_is_told_in_words(
    study: ResolvedStudy, raw: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    first, second = list(study.cells.values())[:2]
    finish(tmp_path, study, first)
    finish(tmp_path, study, second)
    raw["recipe"]["overrides"] = [
        {"model": second.model, "data": second.data, "samples_seen": second.samples_seen,
         "recipe": {"learning_rate": 5.0e-4, "instability": {"policy": "skip"}}}
    ]  # fmt: skip
    changed = load_study(raw, repository)
    rows = {row.cell: row for row in make_plan(changed, tmp_path).rows}
    assert (rows[first.name].state, rows[first.name].reason) == ("skip", "trained")
    assert rows[second.name].state == "run"
    assert rows[second.name].reason == "learning_rate changed 3e-3 -> 5e-4; instability.policy changed stop -> skip"


def test_other_pairs_and_a_missing_checkpoint_are_told_too(study: ResolvedStudy, tmp_path: Path) -> None:
    first, second, *_ = study.cells.values()
    finish(tmp_path, study, first)
    (finish(tmp_path, study, second) / "checkpoint.pt").unlink()
    rows = {row.cell: row for row in make_plan(study, tmp_path).rows}
    assert rows[first.name].state == "skip"
    assert (rows[second.name].state, rows[second.name].reason) == ("run", "its checkpoint is missing")
    manifest = tmp_path / "results" / "data" / first.data / "manifest.json"
    subset_manifest(order_digest="other").write(manifest)
    rows = {row.cell: row for row in make_plan(study, tmp_path).rows}
    assert rows[first.name].reason == f"pairs of {first.data} changed"


def test_a_saved_run_is_resumed(study: ResolvedStudy, tmp_path: Path) -> None:
    cell = next(iter(study.cells.values()))
    resume = tmp_path / "results" / "offline" / "train" / cell.name / "resume"
    resume.mkdir(parents=True)
    for step in (8, 24):
        (resume / f"step-{step:010d}-{'0' * 64}.pt").touch()
    row = make_plan(study, tmp_path).rows[0]
    assert (row.state, row.reason) == ("resume", "saved at step 24 of 63")
    assert row.samples_trained == 39 * 128 and row.samples_seen == 63 * 128
    assert row.compute_gmacs == pytest.approx(row.gmacs_per_sample * 63 * 128)


def test_pairs_that_cannot_be_prepared_block_their_cells_but_are_costed(laion: ResolvedStudy, repository: Path) -> None:
    plan = make_plan(laion, repository)
    sums = totals(plan)
    assert sums["blocked"] == sums["cells"] == 29
    assert "lists: none is given, so the source can be planned only" in plan.rows[0].reason
    assert sums["gpu_hours"]["estimate"] == pytest.approx(1_058_318, rel=0.01)
    assert sums["energy_mwh"] == pytest.approx(370.41, rel=0.01)  # 0.35 kW a GPU, as the paper


def test_repeats_are_stated_for_each_cell_and_in_a_line(laion: ResolvedStudy, repository: Path) -> None:
    plan = make_plan(laion, repository)
    row = max(plan.rows, key=lambda row: row.samples_seen / row.unique_pairs)
    assert row.data == "LAION-80M" and row.epochs == pytest.approx(row.samples_seen / row.unique_pairs, abs=1e-4)
    text = text_plan(plan)
    # 34,240,177,620 samples of 80 million pairs.
    told = next(line for line in text.splitlines() if line.startswith("repeats: "))
    assert f"to 428 times, most in {row.cell}" in told
    line = next(line for line in text.splitlines() if line.startswith(row.cell))
    assert " 428 " in line


def test_schedule_wsd_says_what_it_saves(repository: Path) -> None:
    raw = yaml.safe_load((repository / "config" / "relaion.yaml").read_text())
    plan = full_plan(load_study(raw, repository), repository)
    raw["recipe"]["defaults"]["schedule"] = "cosine"
    alone = make_plan(load_study(raw, repository), repository)
    # Budgets 3, 13, 34 of nine (model, data): a trunk to 0.8 x 34 and three cooldowns train 37.2 of 50.
    b32 = [sum(row.samples_trained for row in p.rows if row.model == "ViT-B-32") for p in (plan, alone)]
    assert b32[0] / b32[1] == pytest.approx(37.2 / 50, rel=1e-3)
    saved = 1 - totals(plan)["gpu_hours"]["estimate"] / totals(alone)["gpu_hours"]["estimate"]
    assert f"({saved:.1%})" in next(note for note in plan.notes if note.startswith("schedule wsd saves"))


def test_finished_cells_teach_the_cost_of_the_others(study: ResolvedStudy, tmp_path: Path) -> None:
    first = next(iter(study.cells.values()))
    finish(tmp_path, study, first, seconds=36.0, speed=1000.0)
    rows = {row.cell: row for row in make_plan(study, tmp_path).rows}
    assert rows[first.name].used_hours == pytest.approx(0.01)
    same = next(row for row in rows.values() if row.model == first.model and row.state == "run")
    assert same.cpu_hours == pytest.approx(same.samples_seen / 1000 / 3600)
    assert same.cpu_hours_low < same.cpu_hours < same.cpu_hours_high and same.gpu_hours == 0


def test_the_estimate_made_before_is_held_against_what_was_used(study: ResolvedStudy, tmp_path: Path) -> None:
    plan = full_plan(study, tmp_path)
    write_plan(plan, study, tmp_path)
    estimated = plan.rows[0].planned_hours
    first = next(iter(study.cells.values()))
    finish(tmp_path, study, first, seconds=72.0)
    row = make_plan(study, tmp_path).rows[0]
    assert (row.planned_hours, row.used_hours) == (pytest.approx(estimated), pytest.approx(0.02))
    assert "finished cells were planned at" in text_plan(full_plan(study, tmp_path))


def test_the_difference_to_the_last_plan_is_told(
    study: ResolvedStudy, raw: dict[str, Any], repository: Path, tmp_path: Path
) -> None:
    for cell in study.cells.values():
        finish(tmp_path, study, cell)
    write_plan(full_plan(study, tmp_path), study, tmp_path)
    assert full_plan(study, tmp_path).difference == "as the last plan"
    raw["grid"]["samples_seen"] = ["8K", "32K", "64K"]
    raw["recipe"]["overrides"] = [{"model": "ViT-nano-8", "recipe": {"weight_decay": 0.3}}]
    told = full_plan(load_study(raw, repository), tmp_path).difference
    assert told.startswith("4 new, 4 stale because weight_decay changed 0.1 -> 0.3, +")
    assert told.endswith("CPU-h to do")
    assert difference(make_plan(study, tmp_path), None) == "no earlier plan"


def test_the_files_hold_the_whole_plan(study: ResolvedStudy, tmp_path: Path) -> None:
    folder = write_plan(full_plan(study, tmp_path), study, tmp_path)
    rows = list(csv.DictReader((folder / "grid.tsv").open(), delimiter="\t"))
    wanted = (
        "cell model data samples_seen seed state reason gmacs_per_sample compute_gmacs gpus gpu_hours gpu_hours_low "
    )
    wanted += "gpu_hours_high energy_mwh storage_gb"
    assert set(wanted.split()) <= set(rows[0]) and len(rows) == 8
    assert json.loads((folder / "plan.json").read_text())["totals"]["cells"] == 8
    page = (folder / "plan.html").read_text()
    assert page.count("<svg") == 2 and "http" not in page
    assert all(name in page for name in study.cells)


def test_the_sums_interval_lies_between_that_of_independent_and_of_equal_errors(
    laion: ResolvedStudy, repository: Path
) -> None:
    rows = make_plan(laion, repository).rows
    whole, low, high = total(rows, "gpu_hours")
    assert low < whole < high
    assert high / whole < max(row.gpu_hours_high / row.gpu_hours for row in rows)


def test_a_budget_stops_the_plan_and_names_what_would_fit(laion: ResolvedStudy, repository: Path) -> None:
    plan = make_plan(laion, repository)
    check_budget(plan, Budget(max_gpu_hours=1_100_000, max_storage_gb=1e6))
    # The paper's cheapest runs: 836, 1,063, 1,121 GPU-hours; the next takes 1,713.
    with pytest.raises(
        ConfigError, match=r"(?s)max_gpu_hours: 1,058,3.. .*4,000 are allowed. These 3 would fit"
    ) as error:
        check_budget(plan, Budget(max_gpu_hours=4_000))
    assert "Samples-2.56001328B" in str(error.value) and "Nothing was started" in str(error.value)
    assert len(cells_that_fit(plan, 800)) == 0
    with pytest.raises(ConfigError, match="max_storage_gb"):
        check_budget(plan, Budget(max_storage_gb=10))
