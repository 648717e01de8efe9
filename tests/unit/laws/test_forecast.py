"""Forecasts against the closed form of a straight line, their seal, and their judgement by hand."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from clip_scaling.errors import LawError, ManifestError
from clip_scaling.laws import Runs, UnfitPoints, find_method, select_runs
from clip_scaling.laws.forecast import Judgement, forecast_cells, judge, replay
from clip_scaling.published.tables import read_published
from clip_scaling.records.forecast import Forecast

OLS = find_method("ols-all")
SIZES, SAMPLES = np.array([1.0, 2.0, 4.0, 8.0]), np.array([1e6, 4e6, 1.6e7])


def table(errors: np.random.Generator | None = None) -> pd.DataFrame:
    """Twelve runs about E = 3 C^-0.15, with a scatter of 2 %."""
    rng = errors or np.random.default_rng(3)
    sizes, samples = (grid.ravel() for grid in np.meshgrid(SIZES, SAMPLES))
    error = 3 * (sizes * samples) ** -0.15 * np.exp(0.02 * rng.standard_normal(sizes.size))
    return pd.DataFrame(
        {
            "cell": [f"{size:g}-{seen:g}" for size, seen in zip(sizes, samples, strict=True)],
            "model": [f"m{size:g}" for size in sizes], "dataset": "icons", "metric": "acc1", "value": 1 - error,
            "gmacs_per_sample": sizes, "samples_seen": samples, "compute_gmacs": sizes * samples,
        }
    )  # fmt: skip


def runs(rows: pd.DataFrame | None = None) -> Runs:
    return select_runs(table() if rows is None else rows, "icons", "acc1")


def line(compute: np.ndarray, error: np.ndarray, at: float) -> tuple[float, float, float]:
    """Prediction and 90 % interval of one more run, by the closed form of a regression of ln E on ln C."""
    x, y, x0 = np.log(compute), np.log(error), np.log(at)
    slope, middle = np.polyfit(x - x.mean(), y, 1)
    residuals, n = y - middle - slope * (x - x.mean()), len(x)
    spread = np.sqrt((residuals @ residuals) / (n - 2))
    reach = stats.t.ppf(0.95, n - 2) * spread * np.sqrt(1 + 1 / n + (x0 - x.mean()) ** 2 / ((x - x.mean()) ** 2).sum())
    predicted = middle + slope * (x0 - x.mean())
    return tuple(np.exp([predicted, predicted - reach, predicted + reach]))


COMING = pd.DataFrame({"cell": ["big"], "model": ["m16"], "gmacs_per_sample": [16.0], "samples_seen": [6.4e7]})


def test_a_forecast_is_the_line_with_the_interval_of_one_more_run() -> None:
    given, found = table(), forecast_cells(runs(), COMING, OLS)
    (cell,) = found.cells
    expected = line(given["compute_gmacs"].to_numpy(), 1 - given["value"].to_numpy(), 16 * 6.4e7)
    assert (cell.error, cell.low, cell.high) == pytest.approx(expected, rel=1e-9)
    assert (found.kind, found.method, found.is_chosen_by_holdout, len(found.points)) == (
        "forecast",
        "ols-all",
        False,
        12,
    )
    assert found.sha256 == found.digest


def test_without_a_method_the_hold_out_chooses_one() -> None:
    found = forecast_cells(runs(), COMING)
    assert found.is_chosen_by_holdout and found.method in ("ols-all", "loglinear", "frontier-ols", "power-floor")


def test_a_run_is_judged_by_its_interval_its_distance_and_the_interval_score() -> None:
    found = forecast_cells(runs(), pd.concat([COMING, COMING.assign(cell="bigger", samples_seen=1e9)]), OLS)
    big = found.cells[0]
    beside = {"model": "m16", "dataset": "icons", "metric": "acc1", "gmacs_per_sample": 16.0, "samples_seen": 6.4e7}
    beside |= {"cell": "big", "compute_gmacs": 16 * 6.4e7}
    for measured, score in [
        (big.error, big.high - big.low),
        (big.high + 0.01, big.high - big.low + 20 * 0.01),
        (big.low - 0.02, big.high - big.low + 20 * 0.02),
    ]:
        now = pd.concat([table(), pd.DataFrame([beside | {"value": 1 - measured}])])
        result = judge(found, runs(now))
        assert (result.n_open, result.moved, len(result.rows)) == (1, [], 1)
        assert result.hits == (measured == big.error)
        assert result.mean_score == pytest.approx(score) and result.mean_error == pytest.approx(
            abs(measured - big.error)
        )


def test_few_hits_have_their_binomial_chance() -> None:
    rows = pd.DataFrame({"is_hit": [True, True, False, False]})
    # At most 2 of 4 at .9: .1^4 + 4 x .9 x .1^3 + 6 x .9^2 x .1^2.
    assert Judgement(rows, 0, []).chance == pytest.approx(0.0001 + 0.0036 + 0.0486)


@pytest.mark.parametrize(
    ("place", "value"),
    [(("cells", 0, "high"), 0.5), (("made",), "2020-01-01T00:00:00+00:00"), (("points", 3, "error"), 0.123),
     (("points", 3, "cell"), "other"), (("method",), "binned-min-5"), (("sha256",), "0" * 64)],
)  # fmt: skip
def test_whatever_is_altered_is_refused(tmp_path: Path, place: tuple[str | int, ...], value: object) -> None:
    path = tmp_path / "forecast.json"
    forecast_cells(runs(), COMING, OLS).write(path)
    assert Forecast.read(path).cells[0].cell == "big"
    content = json.loads(path.read_text())
    *above, last = place
    inner = content
    for step in above:
        inner = inner[step]
    assert inner[last] != value
    inner[last] = value
    path.write_text(json.dumps(content))
    with pytest.raises(ManifestError, match="altered after it was frozen"):
        Forecast.read(path)


def test_a_run_that_has_been_measured_cannot_be_forecast() -> None:
    by_name = COMING.assign(cell="4-1.6e+07")
    by_size = COMING.drop(columns="cell").assign(gmacs_per_sample=4.0, samples_seen=1.6e7)
    for cells in (by_name, by_size):
        with pytest.raises(LawError, match=r"4-1\.6e\+07 has been measured"):
            forecast_cells(runs(), cells, OLS)


def test_a_run_that_ended_before_the_forecast_is_refused_and_a_replay_says_what_it_is() -> None:
    found = forecast_cells(runs(), COMING, OLS)
    beside = table().iloc[:1].assign(cell="big", gmacs_per_sample=16.0, samples_seen=6.4e7, compute_gmacs=16 * 6.4e7)
    now = runs(pd.concat([table(), beside]))
    made = datetime.fromisoformat(found.made)
    assert len(judge(found, now, {"big": made + timedelta(seconds=1)}).rows) == 1
    with pytest.raises(LawError, match="big ended on .* before the forecast was made"):
        judge(found, now, {"big": made - timedelta(seconds=1)})
    again = replay(now, now.cell == "big", OLS)
    assert again.kind == "replay"
    assert len(judge(again, now, {"big": datetime(2020, 1, 1, tzinfo=UTC)}).rows) == 1


def test_a_run_without_a_name_is_found_by_its_size_and_samples_and_points_that_moved_are_named() -> None:
    found = forecast_cells(runs(), COMING.drop(columns="cell"), OLS)
    beside = table().iloc[:1].assign(cell="c", gmacs_per_sample=16.0, samples_seen=6.4e7, compute_gmacs=16 * 6.4e7)
    now = pd.concat([table().iloc[1:], beside])
    assert judge(found, runs(now)).rows["cell"].tolist() == ["c"]
    assert judge(found, runs(now)).moved == [table()["cell"][0]]
    with pytest.raises(LawError, match="2 runs of the table are of 16 GMAC a sample"):
        judge(found, runs(pd.concat([now, beside.assign(cell="d")])))


def test_what_carries_no_law_or_no_factor_is_refused() -> None:
    flat = table().assign(value=0.5)
    with pytest.raises(UnfitPoints, match="same error"):
        forecast_cells(runs(flat), COMING, OLS)
    with pytest.raises(LawError, match="predicts by unique_pairs"):
        given = table().assign(unique_pairs=np.tile([1e5, 2e5, 4e5], 4))
        forecast_cells(runs(given), COMING, find_method("data-constrained"))
    with pytest.raises(LawError, match="no run is left out"):
        replay(runs(), np.zeros(12, dtype=bool), OLS)


@pytest.mark.parametrize("rule", ["without H/14 and g/14", "below 1e12 GMAC"])
def test_the_released_runs_are_forecast_as_by_hand(published: Path, rule: str) -> None:
    metrics = read_published(published)
    given = select_runs(metrics, "imagenet1k", "acc1", "openclip")
    out = np.isin(given.model, ["ViT-H-14", "ViT-g-14"]) if rule.startswith("without") else given.compute > 1e12
    assert len(given) == 29 and (not rule.startswith("without") or out.sum() == 2)
    result = judge(replay(given, out, OLS), given)
    expected = [
        line(given.compute[~out], given.error[~out], compute)
        for compute in result.rows["compute_gmacs"]
    ]  # fmt: skip
    found = result.rows[["predicted", "low", "high"]].to_numpy()
    assert found == pytest.approx(np.array(expected), rel=1e-9)
    actual = result.rows["actual"].to_numpy()
    below, above = np.maximum(found[:, 1] - actual, 0), np.maximum(actual - found[:, 2], 0)
    assert result.mean_score == pytest.approx((found[:, 2] - found[:, 1] + 20 * (below + above)).mean())
    assert result.hits == int(((below == 0) & (above == 0)).sum())
