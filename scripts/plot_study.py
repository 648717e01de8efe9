"""Draw the figures of a whole study: learning curves, the data bottleneck, predictions, allocation of compute."""

import argparse
import json
from pathlib import Path

import pandas as pd

from clip_scaling.errors import run_script
from clip_scaling.published.tables import read_learning_curves
from clip_scaling.records.curve import TrainingPoint, read_curve
from clip_scaling.records.filenames import CURVE
from clip_scaling.records.frames import read_frame
from clip_scaling.report.allocation_figure import allocation_figure, allocation_target
from clip_scaling.report.prediction_figure import prediction_figure
from clip_scaling.report.run_figures import bottleneck_figure, bottleneck_target, learning_curve_figure
from clip_scaling.report.style import save_figure


def training_losses(run: Path) -> pd.DataFrame:
    """The points of a run's curve: samples, loss and the rest, without its validations."""
    return pd.DataFrame([dict(point) for point in read_curve(run / CURVE) if isinstance(point, TrainingPoint)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    curves = kinds.add_parser("learning-curves", help="a quantity against samples seen, by model")
    given = curves.add_mutually_exclusive_group(required=True)
    given.add_argument("--runs", type=Path, help="folder of {cell}/curve.jsonl: training losses")
    given.add_argument("--published", type=Path, help="folder of released tables: zero-shot ImageNet accuracies")
    bottleneck = kinds.add_parser("bottleneck", help="held-out error against samples seen, by model and data size")
    bottleneck.add_argument("--target", nargs=2, metavar=("DATASET", "METRIC"), help="default: a held-out loss")
    predictions = kinds.add_parser("predictions", help="predicted against measured error, by target")
    predictions.add_argument("--predictions", required=True, type=Path, help="tables/predictions.csv")
    predictions.add_argument("--targets", required=True, type=json.loads, help="JSON [[dataset, metric], ...]")
    predictions.add_argument("--methods", type=json.loads, default={}, help="JSON {source: method} to draw")
    allocation = kinds.add_parser("allocation", help="compute-optimal model size and samples seen")
    allocation.add_argument("--allocation", required=True, type=Path, help="tables/allocation.csv")
    allocation.add_argument("--target", nargs=2, metavar=("DATASET", "METRIC"), help="default: the first that has any")
    for kind in (curves, bottleneck, predictions, allocation):
        kind.add_argument("--metrics", required=True, type=Path, help="tables/metrics.parquet")
        kind.add_argument("--svg", required=True, type=Path)
        kind.add_argument("--pdf", required=True, type=Path)
        kind.add_argument("--png", type=Path)
    args = parser.parse_args()
    metrics = read_frame(args.metrics)
    if args.kind == "learning-curves":
        if args.published:
            figure = learning_curve_figure(metrics, read_learning_curves(args.published), "imagenet_acc1")
        else:
            cells = metrics["cell"].unique()
            figure = learning_curve_figure(metrics, {cell: training_losses(args.runs / cell) for cell in cells}, "loss")
    elif args.kind == "allocation":
        rows = read_frame(args.allocation)
        figure = allocation_figure(metrics, rows, args.target or allocation_target(rows))
    elif args.kind == "bottleneck":
        figure = bottleneck_figure(metrics, *(args.target or bottleneck_target(metrics)))
    else:
        targets = [(dataset, metric) for dataset, metric in args.targets]
        figure = prediction_figure(metrics, read_frame(args.predictions), targets, args.methods)
    save_figure(figure, args.svg, args.pdf, args.png)


if __name__ == "__main__":
    run_script(main)
