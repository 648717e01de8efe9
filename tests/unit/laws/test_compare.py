import numpy as np
import pandas as pd
import pytest

from clip_scaling.errors import LawError
from clip_scaling.laws import fit
from clip_scaling.laws.compare import compare
from clip_scaling.laws.fits import fit_runs
from clip_scaling.laws.methods import find_method
from clip_scaling.laws.synthetic import Truth, draw_runs


def _power(beta, alpha, deviation, seed, grid=None):
    return draw_runs(Truth(lambda c, m, s, u: beta * c**alpha, {}), deviation, np.random.default_rng(seed), grid)


def test_two_laws_cross_where_their_formulas_do():
    # 6 C^-0.11 = 60 C^-0.19 at C = 10^(1 / 0.08).
    first, second = (
        fit_runs(_power(*law, 1e-4, seed), find_method("ols-all")) for seed, law in enumerate([(6, -0.11), (60, -0.19)])
    )
    found = compare(first, second, [1e11, 1e14])
    assert found.difference == pytest.approx(0.08, abs=1e-3)
    assert found.significant
    assert found.crossover_low < 10 ** (1 / 0.08) < found.crossover_high
    ratios = [row.ratio for row in found.better]
    assert ratios == pytest.approx([0.1 * 1e11**0.08, 0.1 * 1e14**0.08], rel=1e-2)


def test_intervals_of_the_difference_and_the_crossover_cover_the_truth():
    generator = np.random.default_rng(0)
    hits = []
    for _ in range(100):
        seeds = generator.integers(0, 2**32, 2)
        first = fit_runs(_power(6, -0.11, 0.05, seeds[0]), find_method("ols-all"))
        second = fit_runs(_power(60, -0.19, 0.05, seeds[1]), find_method("ols-all"))
        found = compare(first, second)
        hits.append(found.difference_low <= 0.08 <= found.difference_high)
        hits.append((found.crossover_low or 0) <= 10**12.5 <= (found.crossover_high or np.inf))
    assert 0.92 <= np.mean(hits) <= 0.99


@pytest.mark.parametrize("target", ["imagenet1k", "imagenet_robustness"])
def test_three_openai_points_show_no_significant_difference(published_table, target):
    ours = fit(published_table, target=target, metric="acc1", method="binned-min-5", source="openclip")
    theirs = fit(published_table, target=target, metric="acc1", method="ols-all", source="openai")
    found = compare(theirs, ours, recipes=published_table)
    assert not found.significant
    assert found.crossover_low is None and found.crossover_high is None
    assert found.verdict.startswith("with 3 points of openai the difference of exponents is not significant")
    assert {item.name: item.matched for item in found.confounds} == {
        "global_batch_size": False,
        "learning_rate": False,
        "warmup_steps": False,
    }


def test_equal_recipes_are_no_confound():
    laws = [fit_runs(_power(6, -0.11, 0.01, seed), find_method("ols-all")) for seed in (0, 1)]
    cells = laws[0].points_used["cell"]
    recipes = pd.DataFrame(
        {"cell": cells, "global_batch_size": 256, "learning_rate": np.linspace(1e-4, 1e-3, len(cells))}
    )
    found = compare(*laws, recipes=recipes)
    assert [(item.name, item.matched) for item in found.confounds] == [
        ("global_batch_size", True),
        ("learning_rate", False),
    ]
    assert found.verdict.endswith("; not matched: learning rate")


def test_only_power_laws_are_compared():
    runs = _power(6, -0.11, 0.02, 0)
    with pytest.raises(LawError, match="no power law to compare"):
        compare(fit_runs(runs, find_method("ols-all")), fit_runs(runs, find_method("power-floor")))
