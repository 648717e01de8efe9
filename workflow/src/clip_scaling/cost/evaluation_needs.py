"""Memory and time limits of evaluations and fine-tunings, from the model, the sets, and jobs that have finished.

Light: the Snakefile imports it, in every job.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable
from functools import cached_property

from ..data.evaluation_sets.size import SetSize, split_size
from ..errors import ClipScalingError
from ..models.compute import gmacs_per_sample
from ..models.roofline import EFFICIENCY
from ..models.size import ModelSize, model_size
from ..records.evaluation import CheckpointMetrics
from ..study.config.devices import device_kind, figures_of
from ..study.config.evaluation import SuiteEntry
from ..study.config.resources import JobResources
from ..study.grid import Cell
from ..study.resolved import ResolvedStudy
from .after_training import evaluation_passes, prepared_size, tuning_passes
from .needs import CUDA_MB, LEAST_MB, PROCESS_MB, WORKER_MB
from .results import Results

UNKNOWN = SetSize(2000, 2000, 0, 100)
"""Stands for a set that nobody has prepared yet."""
FP32_SHARE = 0.1
"""Of a GPU's peak, which is that of 16-bit products."""
IMAGES_A_SECOND = 300
"""That one process decodes and resizes."""
PROBE_FLOPS = 2e10
"""Products a second of a probe's solver on one core."""
MOST_HELD_MB = 2 * 3 * 512
"""Of decoded images, while they are read: fine-tuning streams splits that would take more (`finetune/images.py`)."""
SCORE_BYTES = 20
"""Of a score, with the order that it is sorted into."""
MARGIN = 3
"""A limit is that many times the estimate."""
LEAST_MINUTES, MOST_MINUTES = 30, 24 * 60
MOST_READ = 3
"""Finished evaluations of a model that are looked at."""


class EvaluationNeeds:
    """Answers for the jobs that follow training, each by its cell."""

    def __init__(self, study: ResolvedStudy, results: Results) -> None:
        self.study, self.results = study, results
        self._recorded: dict[str, float | None] = {}

    def evaluate_mem_mb(self, cell: Cell) -> int:
        """Host memory of an evaluation, MB: weights, activations of a batch, features and scores of the largest set."""
        resources, size = self.study.config.resources.evaluate_of(cell), self._model(cell)
        if resources.mem_mb is not None:
            return resources.mem_mb
        features = max(
            2 * 4 * size.embed_dim * (known.images + known.prompts + known.train)
            + SCORE_BYTES * known.images * known.columns
            for known in self.sizes.values()
        )
        batch = 0.0
        if not self._gpus(cell, resources):
            batch = self.study.config.evaluation.batch_size * size.activation_bytes(is_recomputed=True, is_half=False)
        return self._mem_mb(cell, resources, 2 * 4 * size.parameters + batch + features)

    def fine_tune_mem_mb(self, cell: Cell, dataset: str) -> int:
        """Host memory of a fine-tuning, MB: its images, decoded, beside what training and saving the model takes."""
        resources, size = self.study.config.resources.fine_tune_of(cell), self._model(cell)
        if resources.mem_mb is not None:
            return resources.mem_mb
        settings = self.study.suite.fine_tuning
        side = self.study.models[cell.model]["vision_cfg"].get("image_size", 224)
        control = self.sizes[settings.control].images if settings.control in self.sizes else 0
        images = 2 * 3 * side**2 * (self.sizes[dataset].images + self.sizes[dataset].train + control)
        images = min(images, MOST_HELD_MB * 1e6)
        batch = 0.0
        if not self._gpus(cell, resources):
            batch = settings.batch_size * size.activation_bytes(is_recomputed=False, is_half=False)
        return self._mem_mb(cell, resources, 2 * 20 * size.parameters + batch + images)

    def evaluate_minutes(self, cell: Cell, jobs: int = 1) -> int:
        """Time limit of an evaluation, or of each of several jobs that share it."""
        resources = self.study.config.resources.evaluate_of(cell)
        if resources.runtime_minutes is not None:
            return resources.runtime_minutes
        seconds = self._recorded_seconds(cell.model)
        if seconds is None:
            passes = evaluation_passes(self.study, self.sizes)
            probes = sum(self._probe_seconds(entry, cell) for entry in self.study.suite.datasets)
            seconds = passes * self._pass_seconds(cell, resources) + probes
        return _minutes(seconds / jobs)

    def fine_tune_minutes(self, cell: Cell, dataset: str) -> int:
        """Time limit of a fine-tuning."""
        resources = self.study.config.resources.fine_tune_of(cell)
        if resources.runtime_minutes is not None:
            return resources.runtime_minutes
        seconds = self._fine_tuned_seconds(cell.model, dataset)
        if seconds is None:
            seconds = tuning_passes(self.study, dataset, self.sizes) * self._pass_seconds(cell, resources)
        return _minutes(seconds)

    @cached_property
    def sizes(self) -> dict[str, SetSize]:
        """Of every set of the suite: as prepared, else as its folder says, else UNKNOWN."""
        return {name: self._size(entry) for name, entry in self.study.evaluation_sets.items()}

    def _size(self, entry: SuiteEntry) -> SetSize:
        try:
            found = prepared_size(self.results, entry.dataset)
        except ClipScalingError:
            found = None  # the job that reads it says so
        if found is not None:
            return found
        folder = self.study.suite.folder_of(entry)
        images = split_size(folder, "test") if entry.origin == "webdataset" else None
        if images is None:
            return UNKNOWN
        return SetSize(images, images, split_size(folder, "train") or 0, UNKNOWN.columns)

    def _gpus(self, cell: Cell, resources: JobResources) -> int:
        return resources.gpus_of(self.study.config.resources.train_of(cell))

    def _model(self, cell: Cell) -> ModelSize:
        return model_size(self.study.models[cell.model])

    def _mem_mb(self, cell: Cell, resources: JobResources, own_bytes: float) -> int:
        cuda = CUDA_MB if self._gpus(cell, resources) else 0
        workers = WORKER_MB * (resources.workers or 0)
        return max(LEAST_MB, 100 * math.ceil((PROCESS_MB + cuda + workers + own_bytes / 1e6) / 100))

    def _pass_seconds(self, cell: Cell, resources: JobResources) -> float:
        """Seconds of decoding an image and of a forward pass, one after the other."""
        gpus = self._gpus(cell, resources)
        figures = figures_of(device_kind(self.study.config.resources.train_of(cell).gpu_kind, gpus))
        peak = figures.peak_tflops * (FP32_SHARE if gpus else resources.threads)
        decoding = 1 / (IMAGES_A_SECOND * max(1, resources.workers or resources.threads))
        return decoding + 2e9 * gmacs_per_sample(self.study.models[cell.model])["total"] / (EFFICIENCY * peak * 1e12)

    def _probe_seconds(self, entry: SuiteEntry, cell: Cell) -> float:
        """Seconds of the sweep of probes of a set."""
        if not entry.linear_probe:
            return 0.0
        size, sweep = self.sizes[entry.dataset], self.study.suite.linear_probe
        epochs = sum(sweep.epochs) * len(sweep.learning_rates) * len(sweep.weight_decays)
        products = 6 * size.train * self._model(cell).embed_dim * size.columns
        return len(entry.linear_probe) * epochs * products / PROBE_FLOPS

    def _recorded_seconds(self, model: str) -> float | None:
        """The longest of some finished evaluations of a model; None without one."""
        if model not in self._recorded:
            cells = (cell.name for cell in self.study.cells.values() if cell.model == model)
            found = (seconds for name in cells if (seconds := self._metrics_seconds(name)))
            self._recorded[model] = max(itertools.islice(found, MOST_READ), default=None)
        return self._recorded[model]

    def _metrics_seconds(self, cell: str) -> float | None:
        """Seconds of a finished evaluation that has all sets of the suite."""
        path = self.results.paths.metrics(cell)
        if not path.is_file():
            return None
        try:
            seconds = CheckpointMetrics.read(path).seconds or {}
        except ClipScalingError:
            return None
        if not self.study.evaluation_sets.keys() <= seconds.keys():
            return None
        return sum(sum(parts.values()) for parts in seconds.values())

    def _fine_tuned_seconds(self, model: str, dataset: str) -> float | None:
        cells = (cell.name for cell in self.study.cells.values() if cell.model == model)
        jobs: Iterable[float | None] = (self.results.job_seconds(f"fine_tune/{name}/{dataset}") for name in cells)
        return max((seconds for seconds in jobs if seconds), default=None)


def _minutes(seconds: float) -> int:
    """A limit for a job of so many seconds by an estimate."""
    return min(MOST_MINUTES, max(LEAST_MINUTES, math.ceil(10 + MARGIN * seconds / 60)))
