import sys

import numpy as np
import pandas as pd
import pytest

from clip_scaling.cli import main as cli
from clip_scaling.errors import LawError
from clip_scaling.laws.own_table.tidy import tidy_table
from clip_scaling.records.files import read_json

COMPUTE = np.geomspace(1e3, 1e6, 6)


def _run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["clip-scaling", *map(str, arguments)])
    cli.main()


def test_a_user_s_table_is_fitted_under_its_own_column_names(tmp_path, monkeypatch, capsys):
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
    with pytest.raises(LawError, match="row 3 repeats row 2: they are equal in all columns"):
        tidy_table(table, {}, "mine", "acc1")
    table = pd.DataFrame({"compute_gmacs": ["1e3", "much"], "value": [0.5, 0.6]})
    with pytest.raises(LawError, match="column 'compute_gmacs', row 2: 'much' is no number"):
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


def _fails(monkeypatch, *arguments) -> str:
    with pytest.raises(SystemExit) as ended:
        _run(monkeypatch, *arguments)
    assert "Error: " in str(ended.value) or "UnfitPoints: " in str(ended.value)
    return str(ended.value)


NAMED = ["--target", "mine", "--column", "compute_gmacs=c", "--column", "value=acc"]


@pytest.fixture
def runs(tmp_path):
    """A CSV of eight runs of one model."""
    table = pd.DataFrame({"run": [f"r{i}" for i in range(8)], "size": 8.0, "d": 1e8 * 3.0 ** np.arange(8)})
    table["c"] = table["size"] * table["d"]
    table.assign(acc=1 - 4 * table["c"] ** -0.1).to_csv(tmp_path / "runs.csv", index=False)
    return tmp_path / "runs.csv"


def test_a_source_needs_its_column_and_is_not_compared_with_itself(runs, own_grid, monkeypatch):
    one, two = ["--source", "a"], ["--sources", "a", "b"]
    for command, asked in (("fit", one), ("allocate", one), ("next", one), ("compare", two)):
        said = _fails(monkeypatch, command, runs, *asked, *NAMED)
        assert "no column 'source'. It has run, size, d, c, acc. Name it: --column source=YOURS" in said
    said = _fails(monkeypatch, "compare", own_grid, "--target", "mine", "--sources", "a", "a")
    assert "a source is not compared with itself" in said
    assert "'c' is not in the table" in _fails(monkeypatch, "fit", own_grid, "--target", "mine", "--source", "c")


@pytest.mark.parametrize("budget", ["-5", "0", "nan", "inf"])
def test_a_budget_must_be_positive(runs, monkeypatch, budget):
    names = ["--column", "gmacs_per_sample=size", "--column", "samples_seen=d", f"--budget={budget}"]
    assert "a budget must be positive" in _fails(monkeypatch, "allocate", runs, *NAMED, *names)


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_computed(runs, tmp_path, monkeypatch, capsys):
    for output in (".", tmp_path, runs / "law.json", "/"):
        said = _fails(monkeypatch, "fit", runs, *NAMED, "--method", "ols-all", "--output", output)
        assert f"--output {output}" in said
    assert capsys.readouterr().out == ""


def test_a_column_is_named_once(runs, monkeypatch):
    said = _fails(monkeypatch, "fit", runs, *NAMED, "--column", "value=size")
    assert "--column value: given as 'acc' and as 'size'" in said


def test_too_few_runs_are_not_sent_to_the_method_in_use(runs, tmp_path, monkeypatch):
    pd.read_csv(runs).head(2).to_csv(tmp_path / "two.csv", index=False)
    names = ["--column", "gmacs_per_sample=size", "--column", "samples_seen=d"]
    for command in (["fit", "--method", "ols-all"], ["allocate", *names]):
        said = _fails(monkeypatch, command[0], tmp_path / "two.csv", *NAMED, *command[1:])
        assert "finds 2 points" in said and "ols-all." not in said


def test_a_table_of_one_model_gives_no_optimum(runs, monkeypatch, capsys):
    pd.read_csv(runs).assign(loss=lambda t: 1.8 + 2000 * t["d"] ** -0.37).to_csv(runs, index=False)
    asked = ["--target", "mine", "--metric", "loss", "--column", "value=loss", "--column", "gmacs_per_sample=size"]
    asked += ["--column", "samples_seen=d"]
    said = _fails(monkeypatch, "allocate", runs, *asked, "--budget", "1e14")
    assert "do not identify beta_gmacs, alpha_gmacs and floor, since gmacs_per_sample is 8 in every run" in said
    _run(monkeypatch, "fit", runs, *asked, "--method", "chinchilla")
    printed = capsys.readouterr().out
    assert "not identifiable: beta_gmacs, alpha_gmacs and floor, since gmacs_per_sample is 8" in printed
    assert "alpha_gmacs =" not in printed and "floor =" not in printed


@pytest.fixture
def chinchilla(tmp_path):
    """Runs of Epoch's refit of Chinchilla's law, without scatter: 10 sizes at each of 6 training computes."""
    sizes, flop = (a.ravel() for a in np.meshgrid(np.geomspace(5.7e7, 1.6e10, 10), np.geomspace(1e18, 1e21, 6)))
    tokens = flop / 6 / sizes
    loss = 1.8172 + 482.01 * sizes**-0.3478 + 2085.43 * tokens**-0.3658
    table = pd.DataFrame({"Model Size": sizes, "Training Tokens": tokens, "Training FLOP": flop, "loss": loss})
    table.to_csv(tmp_path / "chinchilla.csv", index=False)
    return tmp_path / "chinchilla.csv"


PARAMETERS = ["--target", "c", "--metric", "loss", "--parameters", "Model Size", "--column", "value=loss"]


@pytest.mark.parametrize(
    "given", [["--tokens", "Training Tokens"], ["--training-flop", "Training FLOP"],
              ["--tokens", "Training Tokens", "--training-flop", "Training FLOP"]]
)  # fmt: skip
def test_a_table_of_parameters_and_tokens_has_its_own_options(chinchilla, monkeypatch, capsys, given):
    output = chinchilla.with_name("rows.csv")
    _run(monkeypatch, "allocate", chinchilla, *PARAMETERS, *given, "--budget", "5.76e23", "--output", output)
    printed = capsys.readouterr().out
    # The minimum of A N^-a + B D^-b at 6 N D = C: N = (a A / b B)^(1 / (a + b)) (C / 6)^(b / (a + b)).
    a, b = 0.3478, 0.3658
    best = (a * 482.01 / (b * 2085.43)) ** (1 / (a + b)) * (5.76e23 / 6) ** (b / (a + b))
    row = pd.read_csv(output).iloc[0]
    assert 1e9 * row["gmacs"] == pytest.approx(best, rel=0.01)
    assert row["samples"] == pytest.approx(5.76e23 / 6 / best, rel=0.01)
    assert f"{best:.2e}"[:3] in printed and " parameters x " in printed and " tokens, error " in printed
    assert "isoflop: the best size grows as C^0." in printed


def test_columns_that_contradict_each_other_are_refused_with_the_factor(chinchilla, monkeypatch):
    names = [f"--column={ours}={theirs}" for ours, theirs in (
        ("compute_gmacs", "Training FLOP"), ("gmacs_per_sample", "Model Size"), ("samples_seen", "Training Tokens"),
        ("value", "loss"))]  # fmt: skip
    units = ["--compute-unit", "FLOP", "--compute-passes", "total", "--budget", "5.76e23"]
    said = _fails(monkeypatch, "allocate", chinchilla, "--target", "c", "--metric", "loss", *names, *units)
    assert "is 6 x model size ('Model Size') x samples ('Training Tokens')" in said
    assert "--parameters 'Model Size' --tokens 'Training Tokens'" in said


def test_runs_at_one_compute_are_one_slice_and_without_any_the_reason_is_printed(chinchilla, runs, monkeypatch, capsys):
    # One compute alone, never quite the same: no form of model and samples, and a parabola all the same.
    table = pd.read_csv(chinchilla)
    one = table[table["Training FLOP"].between(2e19, 1e20)].copy()
    one["Training Tokens"] *= 1 + 0.02 * np.cos(np.arange(len(one)))
    one.to_csv(chinchilla, index=False)
    _run(monkeypatch, "allocate", chinchilla, *PARAMETERS, "--tokens", "Training Tokens")
    printed = capsys.readouterr().out
    assert printed.startswith("isoflop at ") and "gives no optimum, for the runs do not identify" in printed
    flat = pd.read_csv(runs)
    grid = pd.concat([flat.assign(size=size, c=size * flat["d"], acc=1 - 0.5 * size**-0.2 - 20 * flat["d"] ** -0.3)
                      for size in (2.0, 4.0)])  # fmt: skip
    grid.to_csv(runs, index=False)
    names = ["--column", "gmacs_per_sample=size", "--column", "samples_seen=d"]
    assert "gmacs_per_sample has 2 values" in _fails(monkeypatch, "allocate", runs, *NAMED, *names)


def test_next_takes_counts_and_makes_compute_of_size_and_samples(runs, tmp_path, monkeypatch, capsys):
    asked = ["next", runs, *NAMED, "--column", "gmacs_per_sample=size", "--column", "samples_seen=d"]
    _run(monkeypatch, *asked, "--prediction", "gmacs=100", "samples=34B")
    assert "the prediction, ln E" in (printed := capsys.readouterr().out) and "nan" not in printed
    for prediction, said in (
        (["gmacs=100"], "ols-all predicts by compute, and compute is not given"),
        (["size=100"], "'size' is none of compute, gmacs, samples, unique"),
        (["samples=many"], "'many' is not a count"),
        (["compute=-1"], "a positive number is needed"),
    ):
        assert said in _fails(monkeypatch, *asked, "--prediction", *prediction)
    pd.DataFrame({"size": [87.7], "d": ["34B"]}).to_csv(tmp_path / "candidates.csv", index=False)
    _run(monkeypatch, *asked, "--candidates", tmp_path / "candidates.csv")
    assert "model of 87.7 GMAC, 3.4e+10 samples:" in capsys.readouterr().out
    pd.DataFrame({"x": [87.7]}).to_csv(tmp_path / "candidates.csv", index=False)
    assert "no column gmacs_per_sample, samples_seen; the table has x" in _fails(
        monkeypatch, *asked, "--candidates", tmp_path / "candidates.csv"
    )


def test_the_name_that_allocate_prints_is_a_method(own_grid, monkeypatch, capsys):
    _run(monkeypatch, "fit", own_grid, "--target", "mine", "--source", "a", "--method", "chinchilla-ols")
    assert "chinchilla-ols on 25 of 25 points" in capsys.readouterr().out


def test_empty_bins_and_the_choice_of_the_hold_out_are_named(tmp_path, monkeypatch, capsys):
    compute = np.concatenate([np.geomspace(1e3, 1.2e3, 4), np.geomspace(3e4, 4e4, 4), np.geomspace(1e6, 1.2e6, 4)])
    error = 1.5 * compute**-0.12 * np.exp(0.02 * np.cos(7 * np.arange(12)))
    pd.DataFrame({"compute_gmacs": compute, "error": error}).to_csv(tmp_path / "t.csv", index=False)
    _run(monkeypatch, "fit", tmp_path / "t.csv", "--target", "mine")
    printed = capsys.readouterr().out
    assert "2 of 5 bins of compute are empty" in printed
    assert "the hold-out chooses " in printed
    _run(monkeypatch, "fit", tmp_path / "t.csv", "--target", "mine", "--method", "ols-all")
    assert "the hold-out chooses" not in capsys.readouterr().out


def test_a_floor_that_a_power_law_cannot_follow_changes_the_verdict(tmp_path, monkeypatch, capsys):
    compute = np.geomspace(1e3, 1e7, 14)
    error = 0.2 + 5 * compute**-0.35 * np.exp(0.01 * np.cos(5 * np.arange(14)))
    pd.DataFrame({"compute_gmacs": compute, "error": error}).to_csv(tmp_path / "t.csv", index=False)
    output = tmp_path / "law.json"
    _run(monkeypatch, "fit", tmp_path / "t.csv", "--target", "mine", "--method", "ols-all", "--output", output)
    said = "law, not confirmed: "
    assert said in capsys.readouterr().out and read_json(output)["fits"][0]["verdict"].startswith(said)
    _run(monkeypatch, "fit", tmp_path / "t.csv", "--target", "mine", "--method", "power-floor")
    assert "14 of 14 points: law\n" in capsys.readouterr().out


def test_a_law_that_is_off_by_rounding_alone_is_confirmed(tmp_path, monkeypatch, capsys):
    compute = np.geomspace(1e3, 1e9, 12)
    pd.DataFrame({"compute_gmacs": compute, "error": 0.9 * compute**-0.1}).round(5).to_csv(
        tmp_path / "t.csv", index=False
    )
    _run(monkeypatch, "fit", tmp_path / "t.csv", "--target", "mine", "--method", "ols-all")
    assert "12 of 12 points: law\n" in capsys.readouterr().out


def test_a_table_of_decimal_commas_is_read_as_its_program_wrote_it(tmp_path, monkeypatch, capsys):
    rows = [(f"{c:.0f}", f"{2 * c**-0.15:.3f}".replace(".", ",")) for c in np.geomspace(1e3, 1e6, 6)]
    text = "\r\n".join(";".join(row) for row in [("GMAC", "loss"), *rows])
    (tmp_path / "excel.csv").write_bytes(text.encode("utf-16"))
    names = ["--column", "compute_gmacs=GMAC", "--column", "value=loss", "--metric", "loss", "--method", "ols-all"]
    _run(monkeypatch, "fit", tmp_path / "excel.csv", "--target", "mine", *names)
    assert "alpha = -0.1" in capsys.readouterr().out


def test_chance_leaves_out_what_only_guesses(tmp_path, monkeypatch, capsys):
    table = pd.DataFrame({"compute_gmacs": np.geomspace(1, 1e5, 6), "value": [0.1, 0.1, 0.2, 0.3, 0.4, 0.5]})
    table.to_csv(tmp_path / "t.csv", index=False)
    asked = ["fit", tmp_path / "t.csv", "--target", "mine", "--method", "ols-all", "--chance", "0.1"]
    assert "is not above chance (0.1)" in _fails(monkeypatch, *asked)
    _run(monkeypatch, *asked, "--drop-saturated")
    assert "2 saturated runs are left out" in capsys.readouterr().out
    assert "an accuracy between 0 and 1" in _fails(monkeypatch, *asked[:-1], "2")
