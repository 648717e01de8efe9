import pandas as pd
import pytest

from clip_scaling.errors import LawError
from clip_scaling.report.views import budgets_of, cells_of, headline_fits, names_by_size, points_of

from ..records.filled import law_file
from .conftest import make_fit, make_metrics


def test_errors_are_complements_of_accuracies_and_losses_themselves(metrics: pd.DataFrame) -> None:
    few = points_of(metrics, "icons", "acc1").query("data == 'Few'")
    assert few["error"].tolist() == pytest.approx([0.9] * 6)
    loss = points_of(metrics, "captions", "contrastive_loss").query("data == 'Few'")
    assert loss["error"].tolist() == pytest.approx([4.5] * 6)


def test_a_target_that_nobody_measured_is_named(metrics: pd.DataFrame) -> None:
    with pytest.raises(LawError, match="no value of icons acc5"):
        points_of(metrics, "icons", "acc5")


def test_a_missing_value_stays_missing(metrics: pd.DataFrame) -> None:
    metrics.loc[0, "value"] = float("nan")
    assert len(points_of(metrics, "icons", "acc1")) == 11


def test_samples_really_seen_are_grouped_into_budgets() -> None:
    seen = pd.Series([2_443_992_504, 2_560_013_280, 12_208_147_020, 13_000_000_000, 13_216_000_000, 34_215_895_056])
    assert budgets_of(seen) == [(2_443_992_504 + 2_560_013_280) / 2, 13_000_000_000, 34_215_895_056]


def test_data_are_listed_by_source_then_size() -> None:
    other = make_metrics("other").query("data == 'Few'").replace("Few", "Elsewhere")
    cells = cells_of(pd.concat([make_metrics(), other]))
    assert names_by_size(cells, "data", "unique_pairs") == ["Few", "Many", "Elsewhere"]


def test_the_headline_is_the_first_method_of_each_source_unless_another_is_named() -> None:
    fits = [make_fit(source=source, method=method) for source in ("a", "b") for method in ("first", "second")]
    shown = [(fit.source, fit.method) for fit in headline_fits(law_file(fits=fits), {"b": "second"})]
    assert shown == [("a", "first"), ("b", "second")]


def test_a_law_of_more_than_compute_is_no_headline() -> None:
    fits = [make_fit(method="loglinear", curve=[], alpha=None), make_fit(method="ols-all")]
    assert [fit.method for fit in headline_fits(law_file(fits=fits), {})] == ["ols-all"]
    with pytest.raises(LawError, match="loglinear .* is no law of compute alone"):
        headline_fits(law_file(fits=fits), {"study": "loglinear"})
