"""A design that cannot tell model from data gives no exponents and no optimum, whatever its runs measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from clip_scaling.errors import LawError
from clip_scaling.laws import UnfitPoints, compute_optimal, find_method, fit_runs, next_cells
from clip_scaling.laws.design import candidate_cells
from clip_scaling.laws.forms import FORMS
from clip_scaling.laws.identify import unidentified
from clip_scaling.laws.planning import allocation_method
from clip_scaling.laws.runs import Runs
from clip_scaling.laws.synthetic import Truth, draw_runs

SIZES, SAMPLES = np.geomspace(0.06, 3, 10), np.geomspace(1e9, 1e12, 10)
# Chinchilla's law: 480 N^-0.35 + 2000 D^-0.37 + 1.8 with N in parameters, a GMAC a billion of them.
TRUTH = Truth(lambda c, m, s, u: (1.8 + 480 * (1e9 * m) ** -0.35 + 2000 * s**-0.37) / 10, {})
TERMS = {"beta_gmacs", "alpha_gmacs", "beta_samples", "alpha_samples"}


def runs_of(sizes: np.ndarray, samples: np.ndarray, unique: np.ndarray | float = 1e13) -> Runs:
    sizes, samples = np.broadcast_arrays(sizes, samples)
    grid = (sizes.astype(float), samples.astype(float), np.broadcast_to(unique, sizes.shape).astype(float))
    return draw_runs(TRUTH, 0.002, np.random.default_rng(0), grid)


def crossed(sizes: np.ndarray, samples: np.ndarray) -> Runs:
    return runs_of(np.repeat(sizes, len(samples)), np.tile(samples, len(sizes)))


@pytest.mark.parametrize(
    ("runs", "open_", "reason"),
    [
        (runs_of(np.array(0.1), SAMPLES), {"beta_gmacs", "alpha_gmacs", "floor"}, "gmacs_per_sample is 0.1 in every"),
        (runs_of(SIZES, np.array(3e10)), {"beta_samples", "alpha_samples", "floor"}, "samples_seen is 3e+10 in every"),
        (runs_of(SIZES, 2e10 * SIZES), TERMS, "samples_seen = 2e+10 x gmacs_per_sample in every run"),
        # Steps are whole, so that the ratio is never quite the same.
        (runs_of(SIZES, 2e10 * SIZES * (1 + 0.03 * np.cos(np.arange(10)))), TERMS, r"gmacs_per_sample in every run"),
        # Sizes grow as the root of samples.
        (runs_of(SIZES, 1e10 * SIZES**2), TERMS, "samples_seen = 1e+10 x gmacs_per_sample^2 in every run"),
        # Two sizes give one difference, which a prefactor and an exponent share.
        (crossed(SIZES[[0, 9]], SAMPLES), {"beta_gmacs", "alpha_gmacs", "floor"}, "gmacs_per_sample has 2 values"),
        # Sizes of one nominal model, with and without its head, are one size.
        (crossed(np.array([0.1, 0.104, 1.0]), SAMPLES), {"beta_gmacs", "alpha_gmacs", "floor"}, "has 2 values"),
        (crossed(SIZES[[0, 4, 9]], SAMPLES), set(), ""),
    ],
)  # fmt: skip
def test_what_a_design_leaves_open_follows_from_its_places(runs: Runs, open_: set[str], reason: str) -> None:
    found = unidentified(runs, FORMS["chinchilla"])
    assert set(found.parameters) == open_
    assert reason in found.reason
    law = fit_runs(runs, find_method("chinchilla"), draws=20)
    assert not open_ & (law.parameters.keys() | law.intervals.keys())
    assert law.verdict.startswith("law, not identifiable: ") == bool(open_)
    if open_:
        assert reason in law.verdict
        for method in ("chinchilla", "all/chinchilla/log/ols"):
            with pytest.raises(UnfitPoints, match="gives no optimum, for the runs do not identify"):
                compute_optimal(runs, find_method(method), [1e13], draws=5)
    else:
        assert np.isfinite(compute_optimal(runs, find_method("chinchilla"), [1e13], draws=5)["gmacs"]).all()


def test_a_huber_fit_has_the_profile_of_the_squares() -> None:
    # Samples are 20 a parameter within 15 %: no fixed relation, and still too little to bound the floor.
    runs = runs_of(SIZES, 2e10 * SIZES * np.exp(0.14 * np.sin(3 * np.arange(10))))
    assert not unidentified(runs, FORMS["chinchilla"])
    squares = fit_runs(runs, find_method("all/chinchilla/log/ols"))
    huber = fit_runs(runs, find_method("chinchilla"), draws=20)
    assert squares.verdict == huber.verdict == "law, not identifiable: floor (10 points do not bound it)"
    assert "floor" not in huber.parameters


def test_repeats_are_worth_nothing_known_where_none_were_made() -> None:
    found = unidentified(crossed(SIZES[[0, 4, 9]], SAMPLES), FORMS["data-constrained"])
    assert (found.parameters, found.reason) == (("repeats_worth",), "no run repeats its data")


def test_unique_pairs_that_follow_from_the_samples_have_no_term() -> None:
    runs = crossed(SIZES[[0, 4, 9]], SAMPLES)
    single = dataclasses.replace(runs, unique=runs.samples)
    assert "unique_pairs = 1 x samples_seen in every run" in unidentified(single, FORMS["additive"]).reason
    assert allocation_method(single).law.name == "chinchilla"
    # Two sizes of data leave their own term open, and the optimum of model and samples is stated.
    halves = dataclasses.replace(runs, unique=np.where(np.arange(30) % 2, 1e9, 1e10))
    assert set(unidentified(halves, FORMS["additive"]).parameters) == {"beta_unique", "alpha_unique", "floor"}
    assert allocation_method(halves).law.name == "additive"
    assert np.isfinite(compute_optimal(halves, find_method("additive"), [1e11], 1e10, draws=5)["gmacs"]).all()


def test_an_exponent_that_the_design_leaves_open_has_no_next_cell() -> None:
    runs = runs_of(np.array(0.1), SAMPLES)
    law = fit_runs(runs, find_method("chinchilla"), draws=0, intervals=False)
    with pytest.raises(LawError, match="do not identify beta_gmacs, alpha_gmacs and floor"):
        next_cells(law, candidate_cells(runs), parameter="alpha_gmacs")


def test_the_grids_of_the_project_s_own_studies_leave_no_term_open() -> None:
    sizes, samples = np.array([0.0055, 0.02, 0.08]), np.array([6e3, 2e4, 6.4e4, 2e5])
    axes = np.meshgrid(sizes, samples, np.array([2e3, 2e4, 2e5]))
    laptop = runs_of(axes[0].ravel(), axes[1].ravel(), axes[2].ravel())
    paper = draw_runs(TRUTH, 0.02, np.random.default_rng(0))
    for runs in (laptop, paper):
        for form in ("additive", "chinchilla", "data-constrained"):
            assert not unidentified(runs, FORMS[form])


def test_a_huber_fit_of_points_without_scatter_is_sound() -> None:
    sizes, samples, unique = (axis.ravel() for axis in np.meshgrid(SIZES[[0, 4, 9]], SAMPLES[::2], [1e13]))
    law = fit_runs(draw_runs(TRUTH, 0.0, np.random.default_rng(0), (sizes, samples, unique)), find_method("chinchilla"),
                   draws=5)  # fmt: skip
    assert law.verdict == "law" and law.parameters["alpha_samples"] == pytest.approx(-0.37, abs=1e-3)
