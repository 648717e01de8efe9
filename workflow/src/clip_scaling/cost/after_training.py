"""Hours of the jobs that follow a cell's training: its evaluation, and its fine-tuning where the suite asks for it.

From finished jobs of the same model, else from the speed of training: a forward pass is a third of a step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import median

from ..data.evaluation_sets.size import SetSize, set_size
from ..records.data import EvaluationSetManifest
from ..study.grid import Cell
from ..study.paths import DataPaths
from ..study.resolved import ResolvedStudy
from .results import Results, evaluation_seconds
from .speeds import Estimate

PASSES = 3
"""Of a training step, in forward passes: forward, and twice that backward."""


def evaluation_passes(study: ResolvedStudy, sizes: Mapping[str, SetSize]) -> int:
    """Images and prompts that an evaluation encodes; training splits where they are probed."""
    probed = {entry.dataset for entry in study.suite.datasets if entry.linear_probe}
    return sum(size.images + size.prompts + (size.train if name in probed else 0) for name, size in sizes.items())


def tuning_passes(study: ResolvedStudy, dataset: str, sizes: Mapping[str, SetSize]) -> float:
    """Forward passes of images in fine-tuning: epochs, then each mixture of weights on what it is judged by."""
    settings, size = study.suite.fine_tuning, sizes.get(dataset)
    if size is None:
        return 0.0
    control = sizes.get(settings.control or "")
    judged = settings.validation_share * size.train + (control.images if control else 0)
    return PASSES * settings.epochs * size.train + len(settings.mixing) * judged + 2 * size.images


def prepared_size(results: Results, dataset: str) -> SetSize | None:
    """The size of a set of the suite; None where it is not prepared."""
    path = results.data.manifest(DataPaths.evaluation_set(dataset))
    return set_size(EvaluationSetManifest.read(path), path) if path.is_file() else None


class AfterTraining:
    """Answers with the hours on one device, and where they come from. finished: cells whose jobs may have run."""

    def __init__(self, study: ResolvedStudy, results: Results, finished: Iterable[str]) -> None:
        self.study, self.results = study, results
        self.tuned_cells, self.tuned_sets = set(study.fine_tuned_cells()), study.fine_tuned_sets()
        self.sizes = {entry: size for entry in study.evaluation_sets if (size := prepared_size(results, entry))}
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
        seconds = training.start_seconds + evaluation_passes(self.study, self.sizes) / (PASSES * speed)
        if is_tuned:
            for name in self.tuned_sets:
                seconds += training.start_seconds + tuning_passes(self.study, name, self.sizes) / (PASSES * speed)
        known, asked = len(self.sizes), len(self.study.evaluation_sets)
        return seconds / 3600, f"from the training speed; {known} of {asked} sets have a known size"

    def _measured(self, cell: Cell) -> float | None:
        """Seconds of all of a cell's jobs after training by Snakemake's benchmark files; None where one is missing."""
        names = [f"fine_tune/{cell.name}/{name}" for name in self.tuned_sets] if cell.name in self.tuned_cells else []
        evaluated = evaluation_seconds(self.results, cell.name, self.study.config.evaluation.jobs)
        found = [evaluated, *map(self.results.job_seconds, names)]
        known = [seconds for seconds in found if seconds is not None]
        return sum(known) if len(known) == len(found) else None
