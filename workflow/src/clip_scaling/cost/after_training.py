"""Hours of the jobs that follow a cell's training: its evaluation, and its fine-tuning where the suite asks for it.

From finished jobs of the same model, else from the speed of training: a forward pass is a third of a step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median

from ..records.data import EvaluationSetManifest
from ..study.grid import Cell
from ..study.paths import DataPaths
from ..study.resolved import ResolvedStudy
from .results import Results
from .speeds import Estimate

PASSES = 3
"""Of a training step, in forward passes: forward, and twice that backward."""


@dataclass(frozen=True)
class SetSize:
    """Of an evaluation set: images of its test split, prompts (classes x templates), images of its train split."""

    images: int
    prompts: int
    train: int


class AfterTraining:
    """Answers with the hours on one device, and where they come from. finished: cells whose jobs may have run."""

    def __init__(self, study: ResolvedStudy, results: Results, finished: Iterable[str]) -> None:
        self.study, self.results = study, results
        self.tuned_cells, self.tuned_sets = set(study.fine_tuned_cells()), study.fine_tuned_sets()
        self.sizes = {entry: size for entry in study.evaluation_sets if (size := self._size(entry))}
        self._seconds: dict[str, float] = {}
        self._by_model: dict[tuple[str, bool], list[float]] = {}
        for name in finished:
            cell = study.cells[name]
            seconds = self._measured(cell)
            if seconds is not None:
                self._seconds[name] = seconds
                self._by_model.setdefault((cell.model, name in self.tuned_cells), []).append(seconds)

    def hours(self, cell: Cell, training: Estimate, devices: int) -> tuple[float, str]:
        """Hours on one device for a cell that trains at this speed on `devices`; and their basis in words."""
        is_tuned = cell.name in self.tuned_cells
        if cell.name in self._seconds:
            return self._seconds[cell.name] / 3600, "measured: this very cell"
        alike = self._by_model.get((cell.model, is_tuned))
        if alike:
            return median(alike) / 3600, f"measured: {len(alike)} of its model"
        speed = training.samples_per_second / devices
        probed = {entry.dataset for entry in self.study.suite.datasets if entry.linear_probe}
        passes = sum(
            size.images + size.prompts + (size.train if name in probed else 0) for name, size in self.sizes.items()
        )
        seconds = training.start_seconds + passes / (PASSES * speed)
        if is_tuned:
            seconds += sum(self._tuning_seconds(name, training.start_seconds, speed) for name in self.tuned_sets)
        known, asked = len(self.sizes), len(self.study.evaluation_sets)
        return seconds / 3600, f"from the training speed; {known} of {asked} sets have a known size"

    def _tuning_seconds(self, dataset: str, start_seconds: float, speed: float) -> float:
        """Epochs of training, then each mixture of weights on the validation share and on the control."""
        settings, size = self.study.suite.fine_tuning, self.sizes.get(dataset)
        if size is None:
            return start_seconds
        control = self.sizes.get(settings.control or "")
        judged = settings.validation_share * size.train + (control.images if control else 0)
        passes = PASSES * settings.epochs * size.train + len(settings.mixing) * judged + 2 * size.images
        return start_seconds + passes / (PASSES * speed)

    def _measured(self, cell: Cell) -> float | None:
        """Seconds of all of a cell's jobs after training by Snakemake's benchmark files; None where one is missing."""
        names = [f"fine_tune/{cell.name}/{name}" for name in self.tuned_sets] if cell.name in self.tuned_cells else []
        found = [self.results.job_seconds(job) for job in (f"evaluate/{cell.name}", *names)]
        known = [seconds for seconds in found if seconds is not None]
        return sum(known) if len(known) == len(found) else None

    def _size(self, dataset: str) -> SetSize | None:
        path = self.results.data.manifest(DataPaths.evaluation_set(dataset))
        if not path.is_file():
            return None
        manifest = EvaluationSetManifest.read(path)
        if manifest.n is None:  # a webdataset from elsewhere
            return None
        prompts = len(manifest.classes) * len(manifest.templates) or manifest.n  # retrieval: a caption a pair
        return SetSize(manifest.n, prompts, manifest.n_train or 0)
