import numpy as np
import pandas as pd
import pytest

from clip_scaling.laws.calibrate import calibrated, factor, factors, misses, widen
from clip_scaling.laws.study_tables import methods_table
from clip_scaling.records.laws import FittedLaw, HeldOut, Prediction

from ..records.filled import filled, law_file


def _rows(actual, predicted=0.5, reach=2.0):
    return pd.DataFrame({"actual": actual, "predicted": predicted, "low": predicted / reach, "high": predicted * reach})


def test_a_miss_counts_half_widths_in_log_error():
    # Half a decade of an interval that reaches a factor 2 to either side: 1 at the end, 2 at a factor 4.
    np.testing.assert_allclose(misses(_rows([0.5, 1.0, 0.25, 2.0, 0.125])), [0, 1, 1, 2, 2])


def test_the_factor_holds_nine_of_ten_predictions_of_the_others():
    others = [np.arange(1, 11) / 4, np.arange(1, 11) / 4]
    assert factor(others) == pytest.approx(9 / 4)
    assert factor([np.full(10, 0.1), np.full(10, 0.2)]) == 1.0  # never narrower than the law's own


def test_a_target_s_own_misses_do_not_widen_its_intervals():
    by_target = {"wild": np.full(30, 9.0), "calm": np.full(30, 0.5), "mild": np.full(30, 2.0)}
    found = factors(by_target)
    assert found == {"wild": 2.0, "calm": 9.0, "mild": 9.0}


def test_too_few_other_targets_widen_nothing():
    assert factors({"one": np.full(8, 5.0), "two": np.full(8, 5.0)}) == {"one": 1.0, "two": 1.0}


def test_widening_is_symmetric_in_log_error():
    low, high = widen(np.array([0.2]), np.array([0.1]), np.array([0.4]), 2.0)
    assert low == pytest.approx(0.05) and high == pytest.approx(0.8)


def _law(target, actual):
    rows = [filled(HeldOut, **row) for row in _rows(actual).to_dict("records")]
    fit = filled(FittedLaw, source="s", method="m", holdout=rows, holdout_mae=0.1, holdout_mae_pp=10.0)
    prediction = filled(Prediction, source="s", method="m", predicted=0.6, low=0.4, high=0.7)
    return law_file(target, fits=[fit], predictions=[prediction])


def test_law_files_are_widened_by_the_other_targets_and_say_so():
    # Every target misses by a factor 4 where the intervals reach 2: the factor is 2, and all then hold.
    laws = calibrated([_law(f"t{i}", [1.999, 0.12501] * 5) for i in range(4)])
    assert [law.fits[0].interval_factor for law in laws] == pytest.approx([2.0] * 4, abs=1e-3)
    # Accuracy 0.6 (0.4 to 0.7) is error 0.4 (0.3 to 0.6): twice as far in ln E is 0.225 to 0.9.
    prediction = laws[0].predictions[0]
    assert (prediction.low, prediction.high) == pytest.approx((0.1, 0.775), abs=1e-3)
    row = methods_table(laws).iloc[0]
    assert row["intervals_held_before"] == 0.0
    assert row["interval_factor"] == pytest.approx(2.0, abs=1e-3)
    assert row["intervals_held"] >= 0.5
