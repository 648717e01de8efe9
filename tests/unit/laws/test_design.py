import numpy as np
import pandas as pd
import pytest

from clip_scaling.errors import LawError
from clip_scaling.laws.design import next_cells
from clip_scaling.laws.fits import fit_runs
from clip_scaling.laws.methods import find_method
from clip_scaling.laws.synthetic import TRUTHS, draw_runs, paper_grid

CANDIDATES = pd.DataFrame({"gmacs_per_sample": [7.4, 290.74], "samples_seen": [13e9, 34e9], "unique_pairs": 2.32e9})


def test_the_promised_width_is_what_the_cell_brings_on_average():
    generator, truth, method = np.random.default_rng(0), TRUTHS["power"], find_method("ols-all")
    grid = paper_grid()
    added = tuple(np.append(a, value) for a, value in zip(grid, (290.74, 34e9, 2.32e9), strict=True))
    promised, brought = [], []
    for _ in range(100):
        now = fit_runs(draw_runs(truth, 0.05, generator), method)
        promised.append(next_cells(now, CANDIDATES.iloc[1:], parameter="alpha")["half_width_then"].iloc[0])
        low, high = fit_runs(draw_runs(truth, 0.05, generator, added), method).intervals["alpha"]
        brought.append((high - low) / 2)
    assert np.mean(promised) == pytest.approx(np.mean(brought), rel=0.03)


def test_a_far_cell_buys_more_than_one_in_the_middle_and_the_rank_is_by_compute():
    law = fit_runs(draw_runs(TRUTHS["power"], 0.05, np.random.default_rng(0)), find_method("ols-all"))
    table = next_cells(law, CANDIDATES, parameter="alpha")
    far = table[table["gmacs_per_sample"] == 290.74].iloc[0]
    near = table[table["gmacs_per_sample"] == 7.4].iloc[0]
    assert far["shrinkage"] > near["shrinkage"] > 0
    assert table["shrinkage_per_gmac"].is_monotonic_decreasing
    np.testing.assert_allclose(table["shrinkage_per_gmac"] * table["compute_gmacs"], table["shrinkage"])


def test_a_cell_at_a_named_prediction_narrows_that_prediction_most():
    law = fit_runs(draw_runs(TRUTHS["loglinear"], 0.05, np.random.default_rng(0)), find_method("loglinear"))
    table = next_cells(law, CANDIDATES, at={"gmacs": 290.74, "samples": 34e9, "unique": 2.32e9})
    assert table.loc[table["shrinkage"].idxmax(), "gmacs_per_sample"] == 290.74


def test_what_has_no_such_formula_is_refused():
    runs = draw_runs(TRUTHS["power"], 0.05, np.random.default_rng(0))
    with pytest.raises(LawError, match="laws of all points"):
        next_cells(fit_runs(runs, find_method("frontier-ols"), draws=20), CANDIDATES, parameter="alpha")
    with pytest.raises(LawError, match="no exponent of power"):
        next_cells(fit_runs(runs, find_method("ols-all")), CANDIDATES, parameter="beta")
