"""All figures: what is drawn, what is not, and that the bytes are the same on any day."""

import re
from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from clip_scaling.records.laws import LawFile
from clip_scaling.report.allocation_figure import allocation_figure, allocation_target
from clip_scaling.report.law_figures import equation, law_figure
from clip_scaling.report.marks import marks_for
from clip_scaling.report.prediction_figure import prediction_figure
from clip_scaling.report.run_figures import bottleneck_figure, bottleneck_target, learning_curve_figure
from clip_scaling.report.style import save_figure

from ..records.filled import law_file
from .conftest import make_fit, make_metrics


def panels(figure: Figure) -> list[Axes]:
    """The axes that hold data; legends stand in axes that are off."""
    return [axes for part in figure.subfigs for axes in part.axes if axes.axison]


def points(axes: Axes) -> list[tuple[float, float]]:
    """Where the marks stand."""
    marks = [mark for mark in axes.collections if isinstance(mark, PathCollection)]
    return sorted((round(float(x), 6), round(float(y), 6)) for mark in marks for x, y in mark.get_offsets())


def texts(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_a_law_is_drawn_with_its_equation_and_dashed_beyond_the_points(metrics: pd.DataFrame, law: LawFile) -> None:
    (axes,) = panels(law_figure(metrics, [law], {}))
    solid, dashed = axes.lines
    largest = 0.1 * 1_000_192
    assert max(solid.get_xdata()) <= largest < max(dashed.get_xdata())
    assert dashed.get_linestyle() == "--"
    assert texts(axes) == ["$E = 2\\,C^{−0.250}$"]


def test_a_fit_that_is_no_law_has_no_line(metrics: pd.DataFrame, no_law: LawFile) -> None:
    (axes,) = panels(law_figure(metrics, [no_law], {}))
    assert len(axes.lines) == 0
    assert texts(axes) == ["no law"]


def test_a_law_that_is_not_significant_says_so(metrics: pd.DataFrame, law: LawFile) -> None:
    law = law_file(fits=[make_fit("law, not significant: the interval includes 0")])
    (axes,) = panels(law_figure(metrics, [law], {}))
    assert texts(axes)[0].endswith("(not significant)")


def test_every_run_has_its_mark_and_runs_without_error_are_counted(metrics: pd.DataFrame, law: LawFile) -> None:
    metrics.loc[0, "value"] = 1.0
    (axes,) = panels(law_figure(metrics, [law], {}))
    assert len(points(axes)) == 11
    assert "1 runs without error" in axes.get_title(loc="left")


def test_sources_are_drawn_apart(law: LawFile) -> None:
    both = pd.concat([make_metrics("openclip"), make_metrics("openai").replace({"Few": "WIT", "Many": "WIT"})])
    law = law_file(fits=[make_fit(source="openclip"), make_fit(source="openai")])
    marks = marks_for(both)
    assert marks.colours["WIT"] == marks.lines["openai"] != marks.lines["openclip"]
    (axes,) = panels(law_figure(both, [law], {}))
    assert {text.split(":")[0] for text in texts(axes)} == {"OpenCLIP", "OpenAI"}


def test_marks_tell_data_models_and_budgets_apart(metrics: pd.DataFrame) -> None:
    marks = marks_for(metrics)
    assert list(marks.colours) == ["Few", "Many"]
    assert list(marks.shapes) == ["ViT-small", "ViT-large"]
    assert len(set(marks.colours.values())) == len(set(marks.shapes.values())) == 2
    assert marks.area(9_984) < marks.area(99_840) < marks.area(1_000_192)
    assert marks.area(95_000) == marks.area(99_840)


def test_a_large_prefactor_is_written_as_a_power_of_ten() -> None:
    assert "1.23\\times 10^{7}" in equation(make_fit(beta=1.234e7))


def test_the_bottleneck_shows_each_model_and_each_data_size(metrics: pd.DataFrame) -> None:
    assert bottleneck_target(metrics) == ("captions", "contrastive_loss")
    drawn = panels(bottleneck_figure(metrics, "captions", "contrastive_loss"))
    assert [axes.get_title(loc="left") for axes in drawn] == ["ViT-small", "ViT-large"]
    for axes in drawn:
        lines = [line for line in axes.lines if len(line.get_xdata()) == 3]
        assert len(lines) == 2
        assert list(lines[0].get_ydata()) == [4.5, 4.5, 4.5]


def test_of_several_sources_the_bottleneck_shows_the_one_with_most_data(metrics: pd.DataFrame) -> None:
    first = metrics[(metrics["data"] == "Many") & (metrics["model"] == "ViT-small")].assign(source="other")
    both = pd.concat([first, metrics], ignore_index=True)
    drawn = panels(bottleneck_figure(both, "captions", "contrastive_loss"))
    assert [axes.get_title(loc="left") for axes in drawn] == ["ViT-small", "ViT-large"]


def test_intervals_of_an_accuracy_turn_over_with_its_error(metrics: pd.DataFrame) -> None:
    axes = panels(bottleneck_figure(metrics, "icons", "acc1"))[0]
    low, high = axes.collections[0].get_segments()[0][:, 1]
    assert (round(low, 6), round(high, 6)) == (0.89, 0.92)  # value 0.1, interval 0.08 to 0.11


def test_a_learning_curve_ends_in_a_dot(metrics: pd.DataFrame) -> None:
    curve = pd.DataFrame({"samples": [256, 5_120, 9_984], "loss": [5.5, 4.5, 4.0]})
    curves = {cell: curve for cell in metrics["cell"].unique() if "10K" in cell}
    axes = panels(learning_curve_figure(metrics, curves, "loss"))[0]
    assert len(axes.lines) == 2 * 2
    assert list(axes.lines[1].get_ydata()) == [4.0]


def test_predictions_are_compared_as_errors(metrics: pd.DataFrame) -> None:
    predictions = pd.DataFrame(
        {
            "target": "icons",
            "metric": "acc1",
            "source": "study",
            "method": ["ols-all", "ols-all", "other", "ols-all"],
            "model": "ViT-small",
            "data": "Many",
            "samples_seen": 9_984,
            "compute_gmacs": 100.0,
            "predicted": [0.4, 0.7, 0.1, 0.9],
            "low": [0.3, 0.6, 0.0, 0.8],
            "high": [0.5, 0.8, 0.2, 0.95],
            "actual": [0.35, 0.75, 0.35, float("nan")],
        }
    )
    (axes,) = panels(prediction_figure(metrics, predictions, [("icons", "acc1")], {}))
    assert points(axes) == [(0.25, 0.3), (0.65, 0.6)]


def test_a_study_without_laws_says_that_nothing_can_be_predicted(metrics: pd.DataFrame) -> None:
    empty = pd.DataFrame(columns=["target", "metric", "source", "method", "predicted", "low", "high", "actual"])
    figure = prediction_figure(metrics, empty, [("icons", "acc1")], {})
    assert "No target has a law" in figure.texts[0].get_text()


def test_the_same_figure_gives_the_same_bytes(tmp_path: Path, metrics: pd.DataFrame, law: LawFile) -> None:
    for name in ("first", "second"):
        save_figure(law_figure(metrics, [law], {}), tmp_path / f"{name}.svg", tmp_path / f"{name}.pdf")
    for kind in ("svg", "pdf"):
        first, second = ((tmp_path / f"{name}.{kind}").read_bytes() for name in ("first", "second"))
        assert first == second
        assert not re.search(rb"<dc:date>|CreationDate", first)


def _allocation() -> pd.DataFrame:
    rows = [
        {"method": "chinchilla-ols", "compute_gmacs": 1e3, "gmacs": 0.02, "samples": 5e4, "verdict": "optimum"},
        {"method": "chinchilla-ols", "compute_gmacs": 1e6, "gmacs": 2.0, "samples": 5e5,
         "verdict": "optimum, beyond the measured models (0.01 to 0.1)"},
        {"method": "isoflop", "compute_gmacs": 1e3, "gmacs": 0.03, "samples": 3e4, "verdict": "optimum"},
        {"method": "isoflop", "compute_gmacs": 1e4, "verdict": "no optimum among the models looked at"},
    ]  # fmt: skip
    table = pd.DataFrame(rows).assign(target="icons", metric="acc1", source="study")
    for name in ("gmacs", "samples"):
        table[f"{name}_low"], table[f"{name}_high"] = table[name] / 2, table[name] * 2
    return table


def test_an_allocation_is_solid_where_it_was_measured_and_dashed_beyond(metrics: pd.DataFrame) -> None:
    allocation = _allocation()
    assert allocation_target(allocation) == ("icons", "acc1")
    size, samples = panels(allocation_figure(metrics, allocation, ("icons", "acc1")))
    dashed, solid, parabolas = size.lines
    assert list(dashed.get_ydata()) == [0.02, 2.0]
    assert list(solid.get_ydata())[0] == 0.02 and pd.isna(list(solid.get_ydata())[1])
    assert list(parabolas.get_ydata()) == [0.03]
    assert list(samples.lines[0].get_ydata()) == [5e4, 5e5]


def test_a_study_without_an_optimum_says_so_in_place_of_the_figure(metrics: pd.DataFrame) -> None:
    nothing = _allocation().iloc[3:]
    assert allocation_target(nothing) is None
    (note,) = allocation_figure(metrics, nothing, None).texts
    assert note.get_text() == "No target has an optimum: its grid bounds none."
