"""The evaluation suite against the study: sets, references, places on disk."""

from __future__ import annotations

from pathlib import Path

from ...data.sources.base import RetrievalHoldOut
from ...errors import close_matches
from ..config.evaluation import METRICS, Suite, SuiteEntry, probe_name
from ..file import Study


def check_suite(study: Study, suite: Suite) -> list[str]:
    """Every dataset of the suite must be there or be made, and every law's metric measured."""
    problems = [problem for entry in suite.datasets for problem in _check_entry(study, suite, entry)]
    if suite.linear_probe.solver == "lbfgs" and min(suite.linear_probe.weight_decays) <= 0:
        problems.append("linear_probe.weight_decays: solver lbfgs needs penalties above 0, or it has no minimum")
    names = [entry.dataset for entry in suite.datasets]
    problems += _check_references(suite, names)
    for name in {name for name in names if names.count(name) > 1}:
        problems.append(f"evaluation.suite ({study.evaluation.suite}): dataset {name!r} is there twice")
    return problems + _check_validation(study, names)


def _check_entry(study: Study, suite: Suite, entry: SuiteEntry) -> list[str]:
    """One dataset of the suite: held out of a source, or there; with metrics that its task measures."""
    known = study.held_out_sets()
    place = f"evaluation.suite ({study.evaluation.suite}): dataset {entry.dataset!r}"
    problems, tasks = [], list(METRICS)
    if entry.origin == "held_out":
        if entry.dataset not in known:
            return [f"{place} is not held out by any source.{close_matches(entry.dataset, known)}"]
        if entry.linear_probe or entry.fine_tune:
            problems.append(f"{place}: a held-out set has no training split for linear_probe or fine_tune")
        source, key = known[entry.dataset]
        held_out = study.sources[source].held_out[key]
        tasks = [held_out.kind]
        if isinstance(held_out, RetrievalHoldOut) and study.evaluation.loss_batch_size > held_out.pairs:
            problems.append(
                f"evaluation.loss_batch_size: {study.evaluation.loss_batch_size} is more than "
                f"the {held_out.pairs} pairs of {entry.dataset!r}"
            )
    elif entry.origin == "webdataset":
        # A source without lists cannot be prepared: the study is only planned, and its sets lie on some other machine.
        if not any(source.is_only_planned for source in study.sources.values()):
            problems += _check_webdataset(place, suite.folder_of(entry), entry)
    else:
        tasks = ["zeroshot_classification"]
        problems += _check_idx(place, suite.folder_of(entry)) if entry.origin == "idx" else []
    measured = list(dict.fromkeys(metric for task in tasks for metric in METRICS[task]))
    return problems + [
        f"{place}: metric {metric!r} is not measured in {' or '.join(tasks)}.{close_matches(metric, measured)}"
        for metric in entry.metrics
        if metric not in measured
    ]


def _check_references(suite: Suite, names: list[str]) -> list[str]:
    """What fine-tuning and means name must be in the suite."""
    problems = []
    control = suite.fine_tuning.control
    if control is not None and control not in [entry.dataset for entry in suite.datasets if entry.metrics]:
        problems.append(
            f"fine_tuning.control: {control!r} is no zero-shot set of the suite.{close_matches(control, names)}"
        )
    targets = names + [probe_name(entry.dataset, shots) for entry in suite.datasets for shots in entry.linear_probe]
    return problems + [
        f"aggregates.{mean.dataset}: {name!r} is no target of the suite.{close_matches(name, targets)}"
        for mean in suite.aggregates
        for name in mean.of
        if name not in targets
    ]


def _check_validation(study: Study, names: list[str]) -> list[str]:
    """The sets that cells are validated on while they train."""
    validation, batch = study.evaluation.validation, study.evaluation.loss_batch_size
    if validation is None:
        return []
    problems = [
        f"evaluation.validation.datasets: {name!r} is not in the suite.{close_matches(name, names)}"
        for name in validation.datasets
        if name not in names
    ]
    if validation.max_samples < batch:
        problems.append(
            f"evaluation.validation.max_samples: {validation.max_samples} is less than "
            f"evaluation.loss_batch_size {batch}"
        )
    return problems


def _check_idx(place: str, folder: Path) -> list[str]:
    """The four files of a set in MNIST's format must lie where the suite says."""
    names = [f"{split}-{kind}-ubyte.gz" for split in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
    missing = [name for name in names if not (folder / name).is_file()]
    if not missing:
        return []
    return [
        f"{place}: {folder} has no {' and no '.join(missing)}. Debian's package dataset-fashion-mnist has "
        "Fashion-MNIST (in /usr/share/datasets/fashion-mnist); for others name the `folder` that holds their four files"
    ]


def _check_webdataset(place: str, folder: Path, entry: SuiteEntry) -> list[str]:
    """A set in clip-benchmark's layout must lie where the suite says, with the splits that are asked for."""
    missing = [
        name
        for name in ("test/nshards.txt", *(["train/nshards.txt"] if entry.linear_probe or entry.fine_tune else []))
        if not (folder / name).is_file()
    ]
    if not missing:
        return []
    url = f"https://huggingface.co/datasets/clip-benchmark/wds_{entry.dataset.replace('/', '-')}"
    return [
        f"{place}: {folder} has no {' and no '.join(missing)}. Get it by `git clone {url} {folder}`, or write it by "
        "`clip_benchmark_export_wds`, or name another `folder`"
    ]
