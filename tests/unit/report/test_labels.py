import pytest

from clip_scaling.report.labels import error_label, gmacs_text, metric_title, short_count, supported, with_interval


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (2_560_013_280, "2.6B"),
        (34_215_895_056, "34B"),
        (99_840, "100K"),
        (999_999, "1M"),
        (512, "510"),
        (80_000_415, "80M"),
    ],
)
def test_counts_are_short_to_two_digits(count: int, text: str) -> None:
    assert short_count(count) == text


def test_a_count_that_is_not_positive_is_refused() -> None:
    with pytest.raises(ValueError, match="not a positive count"):
        short_count(0)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (-0.1578, -0.0650, "−0.111 [−0.158, −0.065]"),  # half-width 0.046: known to the third decimal
        (-0.47, 0.11, "−0.11 [−0.47, 0.11]"),  # half-width 0.29
        (-20.0, 20.0, "−0 [−20, 20]"),
        (None, None, "−0.111"),
    ],
)
def test_digits_stop_where_the_interval_does(low: float | None, high: float | None, text: str) -> None:
    assert with_interval(-0.11139, low, high) == text


def test_compute_is_written_in_the_unit_that_keeps_it_readable() -> None:
    assert gmacs_text(0.000561344) == "0.561 MMAC"
    assert gmacs_text(87.73) == "87.7 GMAC"


def test_a_number_alone_has_the_digits_of_its_interval() -> None:
    assert supported(-0.11139, -0.47, 0.11) == "−0.11"


def test_the_error_of_a_loss_is_the_loss_and_of_an_accuracy_its_complement() -> None:
    assert error_label("contrastive_loss") == "contrastive loss (nats)"
    assert error_label("acc1") == "error (1 − top-1 accuracy)"
    assert metric_title("image_retrieval_recall@5") == "image retrieval R@5"
