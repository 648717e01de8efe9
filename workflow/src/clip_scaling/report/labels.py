"""Words for what the tables name: targets, metrics, axes; and numbers to the digits that their interval supports."""

from __future__ import annotations

import math

from ..records.metrics import is_loss

_METRICS = {
    "acc1": "top-1 accuracy",
    "acc5": "top-5 accuracy",
    "mean_per_class_recall": "mean per-class recall",
    "mean_average_precision": "mean average precision",
    "contrastive_loss": "contrastive loss",
}
_DATASETS = {
    "imagenet1k": "ImageNet",
    "imagenet_robustness": "ImageNet robustness",
    "vtab+": "VTAB+",
    "mscoco_captions": "MS-COCO",
    "flickr30k": "Flickr30K",
}
_SOURCES = {"openclip": "OpenCLIP", "openai": "OpenAI"}


def metric_title(metric: str) -> str:
    """`image_retrieval_recall@5` -> `image retrieval R@5`; other names with spaces for underscores."""
    return _METRICS.get(metric, metric.replace("_", " ").replace("retrieval recall@", "retrieval R@"))


def dataset_title(dataset: str) -> str:
    """The paper's name of a released set; the dataset's own name otherwise."""
    if dataset.startswith("linear_probe/"):
        name, _, shots = dataset.removeprefix("linear_probe/").partition("-")
        title = {"cifar100": "CIFAR-100", "vtab": "VTAB mean"}.get(name, dataset_title(name))
        return f"{title}, {shots} probe" if shots else f"{title}, probe"
    for prefix, words in (("fine_tune/", "fine-tuned"), ("patched/", "patched")):
        if dataset.startswith(prefix):
            return f"{dataset_title(dataset.removeprefix(prefix))}, {words}"
    return _DATASETS.get(dataset, dataset)


def source_title(source: str) -> str:
    """The paper's name of a source of points; the source's own name otherwise."""
    return _SOURCES.get(source, source)


def error_label(metric: str) -> str:
    """What an error axis shows, with its unit."""
    return f"{metric_title(metric)} (nats)" if is_loss(metric) else f"error (1 − {metric_title(metric)})"


def short_count(value: float) -> str:
    """Two significant digits for legends and tables: 2560013280 -> `2.6B`, 34215895056 -> `34B`."""
    if value <= 0 or not math.isfinite(value):
        raise ValueError(f"{value!r} is not a positive count")
    rounded = float(f"{value:.2g}")
    for unit, factor in (("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if rounded >= factor:
            return f"{rounded / factor:g}{unit}"
    return f"{rounded:g}"


def gmacs_text(gmacs: float) -> str:
    """Compute in the unit that keeps it readable: 0.00056 -> `0.56 MMAC`, 7.4 -> `7.4 GMAC`."""
    return f"{gmacs * 1000:.3g} MMAC" if gmacs < 0.1 else f"{gmacs:.3g} GMAC"


def with_interval(value: float | None, low: float | None, high: float | None) -> str:
    """A number and its interval, to the digits that the interval supports.

    (-0.11139, -0.1578, -0.0650) -> `−0.111 [−0.158, −0.065]`. Without an interval, three significant digits.
    Empty without a value.
    """
    rounded = supported(value, low, high)
    places = supported_places(low, high)
    return rounded if places is None else minus(f"{rounded} [{low:.{places}f}, {high:.{places}f}]")


def supported(value: float | None, low: float | None, high: float | None) -> str:
    """The number alone, to the same digits; empty without one."""
    if value is None:
        return ""
    places = supported_places(low, high)
    return minus(f"{value:.3g}" if places is None else f"{value:.{places}f}")


def supported_places(low: float | None, high: float | None) -> int | None:
    """Decimal places that an interval supports: its half-width is known to two figures. None without an interval."""
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and low < high):
        return None
    return max(0, 1 - math.floor(math.log10((high - low) / 2)))


def minus(text: str) -> str:
    """Typographic minus signs for a number that is printed."""
    return text.replace("-", "−")
