import numpy as np
import pytest

from clip_scaling.errors import LawError
from clip_scaling.laws import UnfitPoints, fit
from clip_scaling.laws.law_file import fit_record
from clip_scaling.laws.study import fit_target

COMPUTE = [1e3, 1e4, 1e5, 1e6]


def test_an_exact_power_law_is_recovered(make_table):
    error = [2 * c**-0.15 for c in COMPUTE]
    law = fit(make_table(COMPUTE, error), target="target", metric="acc1", method="ols-all")
    assert law.alpha == pytest.approx(-0.15)
    assert law.beta == pytest.approx(2)
    assert law.r2 == pytest.approx(1)


def test_the_t_interval_of_a_slope_is_the_textbook_s(make_table):
    # Weisberg by hand: x = 0..3 (log10), y = (0, -1, -1, -2) / 10: slope -0.06, s^2 = 0.002 / 2, Sxx = 5.
    compute = [1.0, 10.0, 100.0, 1000.0]
    error = [0.5 * 10 ** (-k / 10) for k in (0, 1, 1, 2)]
    law = fit(make_table(compute, error), target="target", metric="acc1", method="ols-all")
    reach = 4.302652729911275 * np.sqrt(0.001 / 5)  # Student's 97.5 % quantile at 2 degrees of freedom
    assert law.alpha == pytest.approx(-0.06)
    assert law.intervals["alpha"] == pytest.approx((-0.06 - reach, -0.06 + reach))


def test_a_prediction_interval_of_a_new_run_is_wider_than_the_band(make_table):
    compute = [1.0, 10.0, 100.0, 1000.0]
    error = [0.5 * 10 ** (-k / 10) for k in (0, 1, 1, 2)]
    law = fit(make_table(compute, error), target="target", metric="acc1", method="ols-all")
    at_mean = np.array([10**1.5])
    _, low, high = law.predict(0.9, compute=at_mean)
    # At the mean compute: s sqrt(1 + 1/4), t = 2.919986 at 95 % and 2 degrees of freedom, in log10.
    assert np.log10(high / low) / 2 == pytest.approx(2.919985580355516 * np.sqrt(0.001 * 1.25))
    _, low, high = law.predict(0.9, new_run=False, compute=at_mean)
    assert np.log10(high / low) / 2 == pytest.approx(2.919985580355516 * np.sqrt(0.001 / 4))


@pytest.mark.parametrize(
    ("target", "metric", "openclip", "openai"),
    [
        ("imagenet1k", "acc1", "-0.11", "-0.16"),
        ("imagenet_robustness", "acc1", "-0.13", "-0.24"),
        ("mscoco_captions", "image_retrieval_recall@5", "-0.08", "-0.05"),
        ("flickr30k", "image_retrieval_recall@5", "-0.19", "-0.10"),
    ],
)
def test_the_paper_s_exponents_are_reproduced(published_table, target, metric, openclip, openai):
    ours = fit(published_table, target=target, metric=metric, method="binned-min-5", source="openclip")
    theirs = fit(published_table, target=target, metric=metric, method="ols-all", source="openai")
    assert f"{ours.alpha:.2f}" == openclip
    assert f"{theirs.alpha:.2f}" == openai


def test_the_released_notebook_s_predictions_are_reproduced(published_table):
    # Output of the notebook's cells 6 and 7, percent accuracy: B/32 at 3B, H/14 at 34B, G/14 at 68B (nominal samples).
    compute = np.array([7.40 * 80000415 * 32, 190.97 * 407332084 * 84, 532.92 * 407332084 * 168])
    for target, metric, expected in (
        ("imagenet1k", "acc1", [58.027829, 78.107834, 81.923599]),
        ("mscoco_captions", "image_retrieval_recall@5", [58.033446, 73.617188, 76.985302]),
    ):
        law = fit(published_table, target=target, metric=metric, method="binned-min-5", source="openclip")
        np.testing.assert_allclose(100 * (1 - law.predict(compute=compute)[0]), expected, atol=5e-7)


@pytest.mark.parametrize(
    "target",
    [
        "vtab/dsprites_label_orientation",
        "vtab/dsprites_label_x_position",
        "vtab/smallnorb_label_azimuth",
        "vtab/smallnorb_label_elevation",
        "vtab/dmlab",
        "vtab/pcam",
        "vtab/kitti_closest_vehicle_distance",
        "vtab/clevr_closest_object_distance",
        "vtab/diabetic_retinopathy",
    ],
)
def test_the_flat_tasks_of_the_paper_have_no_law_by_any_method(published_table, target):
    for method in ("binned-min-5", "ols-all", "frontier-ols", "loglinear"):
        law = fit(published_table, target=target, metric="acc1", method=method, source="openclip")
        assert law.verdict.startswith("no law: ")
        record = fit_record(law)
        assert record.alpha is record.alpha_low is record.beta is None and record.curve == []


def test_a_task_that_falls_on_the_most_data_is_not_flat_because_it_rises_on_little(make_table):
    # On 10 pairs the error rises with compute, on 1,000 it falls nearly as C^-0.5.
    compute = [1e2, 1e3, 1e4, 1.1e2, 1.1e3, 1.1e4, 1.1e5]
    rising = [0.05, 0.5, 0.99]
    falls = make_table(compute, [*rising, 0.9, 0.29, 0.088, 0.029]).assign(unique_pairs=[10] * 3 + [1000] * 4)
    assert not fit(falls, target="target", metric="acc1", method="binned-min-5").verdict.startswith("no law")
    flat = make_table(compute, [*rising, 0.9, 0.89, 0.91, 0.9]).assign(unique_pairs=[10] * 3 + [1000] * 4)
    assert fit(flat, target="target", metric="acc1", method="binned-min-5").verdict.startswith(
        "no law: over all 7 runs"
    )


@pytest.mark.parametrize("end", [0.0, 1.0])
def test_saturated_runs_are_refused_unless_they_are_dropped_and_then_counted(make_table, end):
    table = make_table([1.0, 10.0, 100.0, 1000.0], [0.8, 0.08, 0.008, end])
    with pytest.raises(UnfitPoints, match=r"saturated: drop it \(--drop-saturated"):
        fit(table, target="target", metric="acc1", method="ols-all")
    law = fit(table, target="target", metric="acc1", method="ols-all", drop_saturated=True)
    assert law.alpha == pytest.approx(-1.0)
    assert (law.n_points, law.n_saturated) == (3, 1)


def test_a_study_leaves_saturated_and_diverged_runs_out_and_counts_them(make_table):
    error = [*(2 * c**-0.15 for c in COMPUTE), 1.0, 0.9]
    table = make_table([*COMPUTE, 1e7, 1e8], error).assign(state=["trained"] * 5 + ["diverged"])
    record = fit_target(table, "target", "acc1", ["ols-all"]).fits[0]
    assert record.alpha == pytest.approx(-0.15)
    assert (record.n_points, record.n_saturated, record.n_diverged) == (4, 1, 1)


def test_a_loss_above_one_is_no_saturated_run(make_table):
    table = make_table(COMPUTE, [2.0, 1.0, 0.5, 0.25]).assign(metric="contrastive_loss")
    table["value"] = [2.0, 1.0, 0.5, 0.25]
    law = fit(table, target="target", metric="contrastive_loss", method="ols-all", drop_saturated=True)
    assert law.alpha == pytest.approx(-np.log10(2))
    assert law.n_saturated == 0


def test_a_log_linear_law_states_the_exponent_of_model_and_samples_scaled_alike(published_table):
    law = fit(published_table, target="imagenet1k", metric="acc1", method="loglinear", source="openclip")
    half = (law.parameters["alpha_gmacs"] + law.parameters["alpha_samples"]) / 2
    low, high = law.intervals["alpha"]
    assert law.alpha == pytest.approx(half)
    assert low < law.alpha < high and law.beta is None


def test_points_that_carry_no_law_get_a_verdict_in_the_law_file(make_table):
    law = fit_target(make_table([1e3, 1e3, 1e3], [0.5, 0.4, 0.3]), "target", "acc1", ["ols-all"])
    assert str(law.fits[0].verdict).startswith("no law: target acc1: all 3 runs have the same compute")
    assert law.predictions == []


@pytest.mark.parametrize(
    ("compute", "error", "message"),
    [
        ([1e3], [0.5], "1 point"),
        ([1e3, 1e4, 1e5], [0.5, 0.5, 0.5], "same error"),
        ([1e3, 1e4, 1e5], [0.5, 1.2, 0.3], r"outside \(0, 1\)"),
        ([1e3, 1e4, 1e5], [0.5, -54.2, 0.3], "percentage"),
        ([1e3, 1e4, 1e5], [0.5, 0.0, 0.3], "no place on a log axis"),
    ],
)
def test_points_without_a_law_are_refused_by_name(make_table, compute, error, message):
    with pytest.raises(UnfitPoints, match=message):
        fit(make_table(compute, error), target="target", metric="acc1", method="ols-all")


@pytest.mark.parametrize("compute", [0.0, -1.0, np.nan, np.inf])
def test_compute_that_is_not_positive_is_refused(make_table, compute):
    with pytest.raises(LawError, match="It must be positive"):
        fit(make_table([1e3, compute, 1e5], [0.5, 0.4, 0.3]), target="target", metric="acc1", method="ols-all")


def test_a_run_that_is_there_twice_is_refused(make_table):
    table = make_table(COMPUTE, [0.5, 0.4, 0.3, 0.2]).assign(cell=["cell-0", "cell-1", "cell-1", "cell-2"])
    with pytest.raises(LawError, match="cell-1 is in the table 2 times"):
        fit(table, target="target", metric="acc1")


def test_a_missing_column_and_an_unknown_target_are_named(make_table):
    table = make_table(COMPUTE, [0.5, 0.4, 0.3, 0.2])
    with pytest.raises(LawError, match="no column 'compute_gmacs'"):
        fit(table.drop(columns="compute_gmacs"), target="target", metric="acc1")
    with pytest.raises(LawError, match="'targe' is not in the table. Did you mean target"):
        fit(table, target="targe", metric="acc1")
    with pytest.raises(LawError, match="needs a positive gmacs_per_sample"):
        fit(make_table([*COMPUTE, 1e7], [0.6, 0.5, 0.4, 0.3, 0.2]), target="target", metric="acc1", method="loglinear")


def test_a_missing_measurement_is_left_out(make_table):
    table = make_table([*COMPUTE, 1e7], [2 * c**-0.15 for c in COMPUTE] + [np.nan])
    assert fit(table, target="target", metric="acc1", method="ols-all").n_points == 4


def test_chosen_points_of_equal_error_are_no_law(make_table):
    # The best of each bin has error 0.2, the others are worse at small compute, so that all runs fall.
    compute = np.repeat(np.geomspace(1e3, 1e7, 5), 3)
    error = np.where(np.arange(15) % 3 == 0, 0.2, np.repeat([0.9, 0.8, 0.7, 0.6, 0.5], 3))
    law = fit(make_table(compute.tolist(), error.tolist()), target="target", metric="acc1", method="binned-min-5")
    assert law.verdict.startswith("no law: the exponent of the 5 chosen points is ")
    assert law.alpha is None
