"""Lines of curve.jsonl through their models."""

from __future__ import annotations

from pathlib import Path

import pytest

from clip_scaling.errors import ManifestError
from clip_scaling.records.curve import ValidationPoint, curve_so_far, read_curve, write_curve

from ..curve_points import training_point

TRAINED = training_point(loss=None, gradient_norm=None)
VALIDATED = ValidationPoint(step=3, samples=48, validation={"scenes/acc1": 0.5, "scenes/mean_per_class_recall": 0.4})


def test_points_and_validations_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_curve(tmp_path / "curve.jsonl", [TRAINED, VALIDATED])
    assert read_curve(tmp_path / "curve.jsonl") == curve_so_far(tmp_path / "curve.jsonl") == [TRAINED, VALIDATED]


def test_a_line_that_is_no_point_is_named_in_a_finished_curve_and_passed_over_in_a_growing_one(tmp_path: Path) -> None:
    path = tmp_path / "curve.jsonl"
    write_curve(path, [VALIDATED])
    path.write_text(path.read_text() + '{"step": 4, "samples": 64}\n')
    assert curve_so_far(path) == [VALIDATED]
    with pytest.raises(ManifestError, match="line 2 is no point of a training curve") as caught:
        read_curve(path)
    assert str(path) in str(caught.value)
