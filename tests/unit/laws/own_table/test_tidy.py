"""A user's table: units by column, contradictions, derived columns, repeats, sweeps and losses by any name."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from clip_scaling.errors import LawError
from clip_scaling.laws.own_table.tidy import Reading, tidy_candidates, tidy_table
from clip_scaling.laws.own_table.units import factor
from clip_scaling.laws.runs import UnfitPoints, select_runs

SIZES, TOKENS = np.array([1e8, 1e8, 1e9, 1e9]), np.array([2e9, 2e10, 2e10, 2e11])
NAMES = {"compute_gmacs": "FLOP", "gmacs_per_sample": "N", "samples_seen": "D", "value": "loss"}


def chinchilla(**columns: object) -> pd.DataFrame:
    table = pd.DataFrame({"N": SIZES, "D": TOKENS, "FLOP": 6 * SIZES * TOKENS, "loss": [3.0, 2.8, 2.5, 2.2]})
    return table.assign(**columns)


def test_parameters_tokens_and_training_flop_agree_under_their_units() -> None:
    reading = Reading(units={"compute_gmacs": "FLOP/total", "gmacs_per_sample": "parameters"})
    tidy = tidy_table(chinchilla(), NAMES, "c", "loss", reading=reading)
    np.testing.assert_allclose(tidy["gmacs_per_sample"], SIZES / 1e9)
    np.testing.assert_allclose(tidy["compute_gmacs"], SIZES * TOKENS / 1e9)


@pytest.mark.parametrize(
    ("unit", "passes", "scale", "factor"),
    [("FLOP", "total", 1.0, "6 x"), ("MAC", "forward", 1.0, "6 x"), ("MAC", "forward", 1 / 3, "2 x"),
     ("GMAC", "forward", 1e-9, "6e-09 x"), ("MAC", "forward", 1 / 6 * 4 / 3, "1.33 x")],
)  # fmt: skip
def test_compute_that_is_a_constant_times_size_and_samples_is_refused(
    unit: str, passes: str, scale: float, factor: str
) -> None:
    table = chinchilla(FLOP=lambda rows: rows["FLOP"] * scale * [1, 1.01, 0.99, 1])
    with pytest.raises(LawError, match=rf"compute \('FLOP'\) is {factor} model size \('N'\) x samples \('D'\)"):
        tidy_table(table, NAMES, "c", "loss", unit=unit, passes=passes)


def test_compute_that_counts_a_little_more_is_no_contradiction() -> None:
    # Embeddings and attention: 4 % to 15 % above the product.
    table = chinchilla(FLOP=lambda rows: rows["FLOP"] / 6 * [1.15, 1.12, 1.05, 1.04])
    tidy = tidy_table(table, NAMES, "c", "loss", unit="MAC")
    assert tidy["compute_gmacs"].iloc[0] == pytest.approx(1.15 * 0.1 * 2e9)


def test_samples_are_derived_from_compute_and_size_when_asked() -> None:
    names = {key: value for key, value in NAMES.items() if key != "samples_seen"}
    units = {"compute_gmacs": "FLOP/total", "gmacs_per_sample": "parameters"}
    table = chinchilla().drop(columns="D")
    tidy = tidy_table(table, names, "c", "loss", reading=Reading(units=units, derive=("samples_seen",)))
    np.testing.assert_allclose(tidy["samples_seen"], TOKENS)
    assert tidy.attrs["notes"] == ["samples_seen of 4 runs is compute_gmacs / gmacs_per_sample"]
    assert "samples_seen" not in tidy_table(table, names, "c", "loss", reading=Reading(units=units))
    # Cells that are given stay.
    some = chinchilla(D=[2e9, None, 2e10, None])
    tidy = tidy_table(some, NAMES, "c", "loss", reading=Reading(units=units, derive=("samples_seen",)))
    assert tidy["samples_seen"].tolist() == pytest.approx(TOKENS.tolist())
    with pytest.raises(LawError, match="--derive samples_seen: .*no compute_gmacs"):
        tidy_table(table.drop(columns="FLOP"), {"gmacs_per_sample": "N", "value": "loss"}, "c", "loss",
                   reading=Reading(derive=("samples_seen",)))  # fmt: skip


def test_units_of_columns_that_are_not_known_are_refused() -> None:
    for column, unit, said in (
        ("gmacs_per_sample", "tonnes", "'tonnes' is none of MAC"),
        ("samples_seen", "B/total", "is none of K, M, B, T"),
        ("model", "K", "units are of compute_gmacs"),
    ):
        with pytest.raises(LawError, match=said):
            factor(column, unit)
    tidy = tidy_table(
        pd.DataFrame({"compute_gmacs": [1.0, 2.0], "acc": [50.0, 60.0], "n": [10, 10]}),
        {"value": "acc"}, "t", "acc1", reading=Reading(units={"value": "%"}),
    )  # fmt: skip
    assert tidy["value"].tolist() == [0.5, 0.6]


PLAIN = pd.DataFrame({"arch": ["S", "S", "B"], "gmacs": [1.0, 1.0, 8.0], "acc": [0.5, 0.6, 0.7]})


def test_columns_that_are_missing_are_named_before_any_repeat() -> None:
    with pytest.raises(LawError, match=r"no column 'compute_gmacs', 'value'. It has arch, gmacs, acc. .*--column"):
        tidy_table(PLAIN, {}, "t", "acc1")


def test_a_repeat_is_equal_in_all_columns_and_both_lines_are_named() -> None:
    names = {"compute_gmacs": "gmacs", "value": "acc"}
    twins = pd.DataFrame({"name": ["RN50", "RN50-quickgelu", "B"], "gmacs": [9.0, 9.0, 20.0], "acc": [0.6, 0.6, 0.7]})
    assert len(tidy_table(twins, names, "t", "acc1")) == 3
    again = pd.concat([twins, twins.iloc[[1]]])
    again.index = pd.Index([2, 3, 4, 6], name="line")
    with pytest.raises(LawError, match="line 6 repeats line 3: they are equal in all columns"):
        tidy_table(again, names, "t", "acc1")
    cells = twins.assign(name=["a", "b", "a"])
    with pytest.raises(LawError, match=r"a is in the table 2 times \(row 1 and 3\)"):
        tidy_table(cells, names | {"cell": "name"}, "t", "acc1")


def sweep(**columns: object) -> pd.DataFrame:
    table = pd.DataFrame(
        {"arch": ["S"] * 4 + ["B"] * 2, "compute": [1.0, 1.0, 10.0, 10.0, 80.0, 80.0], "lr": [1e-3, 5e-4] * 3,
         "acc": [0.2, 0.3, 0.5, 0.4, 0.6, 0.7]}
    )  # fmt: skip
    return table.assign(**columns)


def test_a_sweep_is_reduced_to_its_best_run_by_a_rule_that_is_said() -> None:
    names = {"compute_gmacs": "compute", "value": "acc"}
    tidy = tidy_table(sweep(), names, "t", "acc1")
    assert tidy["value"].tolist() == [0.3, 0.5, 0.7]
    assert tidy.attrs["notes"][0].startswith(
        "sweep: 3 cells have runs that differ in lr; the best run of each is kept, 3"
    )
    assert len(tidy_table(sweep(), names, "t", "acc1", reading=Reading(sweep="all"))) == 6
    losses = tidy_table(sweep(), names, "t", "bits", reading=Reading(loss=True))
    assert losses["value"].tolist() == [0.2, 0.4, 0.6]
    # Seeds are no sweep.
    assert len(tidy_table(sweep().rename(columns={"lr": "seed"}), names, "t", "acc1")) == 6
    # The same cell under one name.
    named = tidy_table(sweep(cell=list("aabbcc"), note=list("uvwxyz")), names, "t", "acc1")
    assert named["cell"].tolist() == ["a", "b", "c"]


def test_a_sweep_whose_runs_differ_in_more_is_asked_about() -> None:
    names = {"compute_gmacs": "compute", "value": "acc", "model": "arch", "samples_seen": "compute"}
    runs = sweep(run_id=list("uvwxyz"))
    with pytest.raises(LawError, match="3 cells have runs that differ in lr, run_id. .*--sweep best"):
        tidy_table(runs, names, "t", "acc1")
    assert len(tidy_table(runs, names, "t", "acc1", reading=Reading(sweep="best"))) == 3
    assert len(tidy_table(runs, names, "t", "acc1", reading=Reading(sweep="all"))) == 6


@pytest.mark.parametrize("metric", ["perplexity", "bits_per_byte", "nll", "val_ppl", "BPB"])
def test_a_loss_by_another_name_is_asked_about_and_fitted_as_it_is(metric: str) -> None:
    table = pd.DataFrame({"compute_gmacs": [1.0, 10.0], "x": [0.9, 0.8]})
    with pytest.raises(LawError, match=rf"{metric!r} is a loss. Add --loss"):
        tidy_table(table, {"value": "x"}, "t", metric)
    with pytest.raises(LawError, match=rf"{metric!r} is a loss. Add --loss"):
        tidy_table(table.rename(columns={"x": metric}), {"value": metric}, "t", "acc1")
    tidy = tidy_table(table.assign(metric=metric), {"value": "x"}, "t", metric, reading=Reading(loss=True))
    assert select_runs(tidy, "t", f"{metric}_loss").error.tolist() == [0.9, 0.8]


def test_seeds_and_dates_as_text_only_tell_runs_apart() -> None:
    table = pd.DataFrame(
        {"compute_gmacs": ["1", "10"], "value": ["50%", "0.6"], "seed": ["2024-01-01", "b"]}, dtype=object
    )
    tidy = tidy_table(table, {}, "t", "acc1")
    assert tidy["seed"].tolist() == [0.0, 1.0] and tidy["value"].tolist() == [0.5, 0.6]
    numbered = tidy.assign(seed=["x", "y"])
    assert select_runs(numbered, "t", "acc1").seed.tolist() == [0.0, 1.0]


def test_one_column_may_serve_twice_and_a_name_of_ours_may_be_taken() -> None:
    table = pd.DataFrame({"compute_gmacs": [1.0, 10.0], "value": [7, 8], "acc": [0.5, 0.6], "run": ["a", "b"]})
    tidy = tidy_table(table, {"value": "acc", "cell": "run", "model": "run"}, "t", "acc1")
    assert tidy["value"].tolist() == [0.5, 0.6]
    assert tidy["cell"].tolist() == tidy["model"].tolist() == ["a", "b"]


def test_candidates_are_under_the_names_and_units_of_the_table() -> None:
    table = pd.DataFrame({"N": ["13B"], "D": ["1T"]}, dtype=object)
    tidy = tidy_candidates(table, {"gmacs_per_sample": "N", "samples_seen": "D", "value": "loss"}, Reading("MAC"))
    assert (tidy["gmacs_per_sample"][0], tidy["samples_seen"][0]) == (13.0, 1e12)
    with pytest.raises(LawError, match="candidates: no column gmacs_per_sample, samples_seen; the table has N, D"):
        tidy_candidates(table, {}, Reading())


def test_runs_at_chance_have_not_begun() -> None:
    table = pd.DataFrame({"compute_gmacs": [1.0, 10.0, 100.0], "value": [0.1, 0.12, 0.5], "n": [100, 100, 100]})
    tidy = tidy_table(table.assign(chance="10%"), {}, "t", "acc1")
    # One-sided 95 % of guessing one in ten on 100 images: 0.1 + 1.645 x 0.03 = 0.149.
    runs = select_runs(tidy, "t", "acc1", drop_saturated=True)
    assert (len(runs), runs.n_saturated) == (1, 2)
    assert len(select_runs(tidy.drop(columns="n"), "t", "acc1", drop_saturated=True)) == 2
    with pytest.raises(UnfitPoints, match=r"value 0.1 of row 1 is not above chance \(0.1\)"):
        select_runs(tidy, "t", "acc1")
