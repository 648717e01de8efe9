import sys

import numpy as np
import pandas as pd
import pytest

from clip_scaling.cli import main as cli
from clip_scaling.errors import LawError
from clip_scaling.laws.own_table import tidy_table
from clip_scaling.records.files import read_json

COMPUTE = np.geomspace(1e3, 1e6, 6)


def _run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["clip-scaling", *map(str, arguments)])
    cli.main()


def test_a_table_of_one_s_own_is_fitted_under_its_own_column_names(tmp_path, monkeypatch, capsys):
    # Training FLOP are six forward MAC: 2 FLOP a MAC, three passes.
    table = pd.DataFrame({"flops": 6e9 * COMPUTE, "err": 2 * COMPUTE**-0.15})
    table.to_csv(tmp_path / "own.csv", index=False)
    columns = ["--column", "compute_gmacs=flops", "--column", "error=err"]
    units = ["--compute-unit", "FLOP", "--compute-passes", "total"]
    output = tmp_path / "law.json"
    _run(
        monkeypatch,
        "fit",
        tmp_path / "own.csv",
        "--target",
        "mine",
        "--method",
        "ols-all",
        *columns,
        *units,
        "--output",
        output,
    )
    printed = capsys.readouterr().out
    assert "mine acc1: ols-all on 6 of 6 points: law" in printed
    assert "alpha = -0.15 " in printed and "beta = 2" in printed
    assert read_json(output)["fits"][0]["alpha"] == pytest.approx(-0.15)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--column", "error=er"], "the table has flops, err"),
        (["--column", "mistake=err"], "'mistake' is none of cell"),
        (["--column", "err"], "write OURS=YOURS"),
        (["--column", "error=err"], "no column 'compute_gmacs'"),
        (["--column", "compute_gmacs=flops", "--column", "error=err", "--method", "olsall"], "Close matches: ols-all"),
    ],
)
def test_a_bad_request_ends_with_one_line_that_says_what_to_do(tmp_path, monkeypatch, arguments, message):
    pd.DataFrame({"flops": COMPUTE, "err": 2 * COMPUTE**-0.15}).to_csv(tmp_path / "own.csv", index=False)
    with pytest.raises(SystemExit) as ended:
        _run(monkeypatch, "fit", tmp_path / "own.csv", "--target", "mine", *arguments)
    assert str(ended.value).startswith("LawError: ") and message in str(ended.value)


def test_duplicate_rows_and_text_in_place_of_numbers_are_refused():
    table = pd.DataFrame({"compute_gmacs": [1e3, 1e4, 1e4], "value": [0.5, 0.6, 0.6]})
    with pytest.raises(LawError, match="row 3 repeats an earlier row"):
        tidy_table(table, {}, "mine", "acc1")
    table = pd.DataFrame({"compute_gmacs": ["1e3", "much"], "value": [0.5, 0.6]})
    with pytest.raises(LawError, match="column 'compute_gmacs': could not convert string to float: 'much'"):
        tidy_table(table, {}, "mine", "acc1")


def test_compute_is_taken_from_model_and_samples_where_it_is_not_given():
    table = pd.DataFrame({"gmacs_per_sample": [2.0, 4.0], "samples_seen": [10, 20], "value": [0.5, 0.6]})
    tidy = tidy_table(table, {}, "mine", "acc1", unit="GFLOP")
    assert tidy["compute_gmacs"].tolist() == [10.0, 40.0]


@pytest.fixture
def own_grid(tmp_path):
    """A CSV of 5 models x 5 budgets of two sources, E = m^-0.5 + 2.5e4 s^-0.5 and 1.2 times that, with scatter."""
    generator = np.random.default_rng(0)
    models, samples = (a.ravel() for a in np.meshgrid(np.geomspace(1, 16, 5), np.geomspace(1e8, 1e10, 5)))
    error = (models**-0.5 + 2.5e4 * samples**-0.5) / 6 * np.exp(0.003 * generator.standard_normal(25))
    one = pd.DataFrame({"gmacs_per_sample": models, "samples_seen": samples, "error": error, "source": "a"})
    both = pd.concat([one, one.assign(error=1.2 * one["error"], source="b")], ignore_index=True)
    both.to_csv(tmp_path / "own.csv", index=False)
    return tmp_path / "own.csv"


def test_allocate_prints_the_optimum_by_the_form_and_by_parabolas(own_grid, monkeypatch, capsys):
    output = own_grid.with_name("allocation.csv")
    asked = ["--target", "mine", "--source", "a", "--budget", "1e10", "--output", output]
    _run(monkeypatch, "allocate", own_grid, *asked)
    printed = capsys.readouterr().out
    assert "chinchilla-ols at 1e+10 GMAC: optimum" in printed and "isoflop at 1e+10 GMAC: optimum" in printed
    rows = pd.read_csv(output).set_index("method")
    assert rows.loc["chinchilla-ols", "gmacs"] == pytest.approx(4, rel=0.1)  # 1e10^0.5 / 2.5e4


def test_a_budget_is_given_in_the_unit_of_the_table(own_grid, monkeypatch, capsys):
    flop = ["--compute-unit", "FLOP", "--compute-passes", "total", "--budget", "6e19"]
    _run(monkeypatch, "allocate", own_grid, "--target", "mine", "--source", "a", *flop)
    assert "at 1e+10 GMAC" in capsys.readouterr().out


def test_next_ranks_cells_for_an_exponent_or_a_prediction(own_grid, monkeypatch, capsys):
    asked = ["--target", "mine", "--source", "a", "--rows", "3"]
    _run(monkeypatch, "next", own_grid, *asked)
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("half-width of the 95 % interval of alpha: ") and len(printed) == 4
    _run(monkeypatch, "next", own_grid, *asked, "--method", "ols-all", "--prediction", "compute=1e12")
    assert "the prediction, ln E" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="write FACTOR=VALUE"):
        _run(monkeypatch, "next", own_grid, *asked, "--prediction", "compute")


def test_compare_says_which_source_is_better_and_that_slopes_are_alike(own_grid, monkeypatch, capsys):
    _run(monkeypatch, "compare", own_grid, "--target", "mine", "--sources", "a", "b", "--at", "1e10")
    printed = capsys.readouterr().out
    assert "a and b by ols-all: with 25 points of a the difference of exponents is not significant" in printed
    assert "error ratio 0.833" in printed  # 1 / 1.2


def test_saturated_runs_are_dropped_where_that_is_asked_for(tmp_path, monkeypatch, capsys):
    table = pd.DataFrame({"compute_gmacs": [1.0, 10.0, 100.0, 1000.0], "value": [0.2, 0.92, 0.992, 1.0]})
    table.to_csv(tmp_path / "own.csv", index=False)
    asked = ["fit", tmp_path / "own.csv", "--target", "mine", "--method", "ols-all"]
    with pytest.raises(SystemExit, match="--drop-saturated"):
        _run(monkeypatch, *asked)
    _run(monkeypatch, *asked, "--drop-saturated")
    assert "1 saturated runs are left out" in capsys.readouterr().out
