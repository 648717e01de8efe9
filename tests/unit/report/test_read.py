from pathlib import Path

from clip_scaling.records.curve import ValidationPoint, write_curve
from clip_scaling.report.explorer import quantity_title
from clip_scaling.report.read import Inputs, training_curves

from ..curve_points import training_point


def test_a_curve_has_the_loss_the_validations_and_the_evaluations_on_the_way(tmp_path: Path) -> None:
    validated = ValidationPoint(step=2, samples=16, validation={"captions/recall@5": 0.1})
    (tmp_path / "train/a").mkdir(parents=True)
    write_curve(tmp_path / "train/a/curve.jsonl", [training_point(step=1, samples=8, loss=2.0), validated])
    points = tmp_path / "learning_curves.csv"
    points.write_text("run,samples_seen,dataset,metric,value\na,8,icons,acc1,0.25\nb,8,icons,acc1,0.75\n")
    inputs = Inputs(tmp_path, "study", "", {}, "study.yaml", [], points=points)
    curve = training_curves(inputs, ["a"])["a"]
    found = {name: curve[["samples", name]].dropna().values.tolist() for name in curve.columns.drop("samples")}
    assert found == {"loss": [[8, 2.0]], "captions/recall@5": [[16, 0.1]], "evaluated:icons/acc1": [[8, 0.25]]}


def test_the_page_says_how_a_point_was_measured() -> None:
    assert quantity_title("evaluated:icons/acc1").endswith("evaluated on its way")
    assert quantity_title("icons/acc1").endswith("validated while training")
