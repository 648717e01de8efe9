import pytest
from matplotlib.figure import Figure

from clip_scaling.report.axes import log_ticks, plain_log_axis, power_log_axis, power_text


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.19, 0.61, [0.2, 0.3, 0.5]),
        (0.01, 1.0, [0.01, 0.03, 0.1, 0.3, 1.0]),
        (2.4, 5.6, [3.0, 4.0, 5.0]),
    ],
)
def test_ticks_are_round_and_inside(low: float, high: float, ticks: list[float]) -> None:
    found = log_ticks(low, high)
    assert len(found) >= 4
    assert set(ticks) <= set(found)
    assert all(low <= tick <= high for tick in found)


def test_a_narrow_axis_still_has_labels() -> None:
    axes = Figure().subplots()
    axes.set_yscale("log")
    axes.set_ylim(0.5, 0.6)
    plain_log_axis(axes.yaxis, 0.5, 0.6)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["0.5", "0.52", "0.54", "0.56", "0.58", "0.6"]


def test_an_axis_without_extent_is_refused() -> None:
    with pytest.raises(ValueError, match="0 < low < high"):
        log_ticks(1.0, 1.0)


def test_compute_below_ten_thousand_is_labelled_plainly() -> None:
    axes = Figure().subplots()
    axes.set_xscale("log")
    axes.set_xlim(4, 120)
    power_log_axis(axes.xaxis, 4, 120)
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert [label for label in labels if label in ("5", "10", "20", "50", "100")] == ["5", "10", "20", "50", "100"]


def test_powers_of_ten_are_written_as_such() -> None:
    assert power_text(1e11) == "$10^{11}$"
    assert power_text(2e11) == r"$2\times10^{11}$"
