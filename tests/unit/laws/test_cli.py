import sys

import numpy as np
import pandas as pd
import pytest

from clip_scaling import cli
from clip_scaling.errors import LawError
from clip_scaling.laws.own_table import tidy_table
from clip_scaling.manifests import read_json

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
