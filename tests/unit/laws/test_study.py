import numpy as np
import pytest

from clip_scaling.laws import study_tables
from clip_scaling.laws.methods import find_method
from clip_scaling.laws.study import fit_target, leave_models_out
from clip_scaling.laws.synthetic import TRUTHS, draw_runs
from clip_scaling.published.tables import read_scenarios

from ..records.filled import law_file

METHODS = ["binned-min-5", "ols-all", "loglinear"]
LAW_COLUMNS = (
    "target metric source method form n_points alpha alpha_low alpha_high beta floor r2 holdout_mae_pp verdict "
    "holdout_mae n_saturated n_diverged"
).split()
PREDICTION_COLUMNS = (
    "target metric source method model samples_seen data compute_gmacs predicted low high actual"
).split()


@pytest.fixture(scope="module")
def law(published_table):
    return fit_target(published_table, "imagenet1k", "acc1", METHODS, draws=100)


def test_the_tables_have_the_columns_that_others_read(law):
    laws, predictions = study_tables.laws_table([law]), study_tables.predictions_table([law])
    assert list(laws.columns) == LAW_COLUMNS
    assert list(predictions.columns) == PREDICTION_COLUMNS
    assert len(laws) == 2 * len(METHODS)
    assert set(predictions["source"]) == {"openclip", "openai"}
    one = predictions[(predictions["source"] == "openclip") & (predictions["method"] == "binned-min-5")]
    assert len(one) == 29
    assert ((one["low"] < one["predicted"]) & (one["predicted"] < one["high"])).all()


def test_predictions_are_of_every_run_and_of_the_paper_s_scenarios(published, published_table):
    law = fit_target(published_table, "imagenet1k", "acc1", ["binned-min-5"], read_scenarios(published), draws=20)
    rows = study_tables.predictions_table([law]).query("source == 'openclip'")
    assert len(rows) == 29 + 6
    largest = rows[(rows["model"] == "ViT-G-14") & (rows["samples_seen"] == 68_431_790_112)].iloc[0]
    assert largest["predicted"] == pytest.approx(0.81923599, abs=5e-9)  # the released notebook
    assert np.isnan(largest["actual"])
    measured = rows[(rows["model"] == "ViT-H-14") & (rows["samples_seen"] == 34_215_895_056)].iloc[0]
    assert measured["actual"] == pytest.approx(0.7797, abs=5e-5)  # the paper's table


def test_curves_reach_four_times_beyond_the_points_and_lie_in_their_band(law):
    fit = next(fit for fit in law.fits if fit.method == "ols-all" and fit.source == "openclip")
    assert len(fit.curve) == 60
    assert fit.curve[-1].compute_gmacs == pytest.approx(4 * max(p.compute_gmacs for p in fit.points_used))
    assert all(place.low < place.error < place.high for place in fit.curve)


def test_a_comparison_says_which_is_better_where_both_measured_and_what_was_not_matched(law):
    row = study_tables.comparisons_table([law]).query("method == 'ols-all'").iloc[0]
    assert row["at_gmacs"] == pytest.approx(87.73 * 12.8e9, rel=1e-3)  # the largest of the three OpenAI runs
    assert row["error_ratio_low"] < row["error_ratio"] < row["error_ratio_high"]
    assert row["unmatched"] == "global_batch_size learning_rate warmup_steps"


def test_the_sensitivity_table_holds_the_paper_s_exponent_among_its_choices(law):
    rows = study_tables.sensitivity_table([law]).query("source == 'openclip'")
    paper = rows.query("left_out == '' and points == 'binned-min-5' and scale == 'log' and estimator == 'ols'")
    assert paper["alpha"].iloc[0] == pytest.approx(-0.1114, abs=5e-5)
    assert set(rows["left_out"]) >= {"", "data LAION-80M", "model ViT-B-32"}


def test_the_method_of_least_hold_out_error_is_the_default(law):
    rows = study_tables.methods_table([law])
    assert rows["chosen"].sum() == 1
    assert rows.loc[rows["chosen"], "holdout_mae_pp"].iloc[0] == rows["holdout_mae_pp"].min()


def test_models_left_out_are_predicted_by_every_method_that_never_saw_them():
    runs = draw_runs(TRUTHS["loglinear"], 0.0, np.random.default_rng(0))
    methods = [find_method(name) for name in ("ols-all", "frontier-ols", "loglinear")]
    rows = leave_models_out(runs, ["model-190.97", "model-290.74"], methods)
    exact = [row for row in rows if row.method == "loglinear"]
    assert [row.predicted for row in exact] == pytest.approx([row.actual for row in exact])
    assert leave_models_out(runs, ["model-1"]) == []
    table = study_tables.leave_out_table([law_file("t", leave_out=rows)])
    assert set(table.loc[table["chosen"], "method"]) == {"loglinear"}
    assert table.loc[table["chosen"], "difference_pp"].abs().max() < 1e-9


def test_a_study_without_any_law_still_has_its_tables(make_table):
    law = fit_target(make_table([1e3, 1e4], [0.5, 0.4]), "target", "acc1", ["binned-min-5", "loglinear"])
    assert [fit.verdict.kind for fit in law.fits] == ["no law", "no law"]
    for build in (
        study_tables.laws_table,
        study_tables.predictions_table,
        study_tables.methods_table,
        study_tables.comparisons_table,
        study_tables.sensitivity_table,
        study_tables.leave_out_table,
        study_tables.allocation_table,
        study_tables.next_cells_table,
    ):
        assert len(build([law])) == (2 if build is study_tables.laws_table else 0)
