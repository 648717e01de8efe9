"""Fine-tuning of one checkpoint on one set, from its files to its numbers."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..models import fast_import as plain_towers  # noqa: F401, before all that imports open_clip

# isort: split
from ..data.evaluation_sets.read import EvaluationSet, open_set
from ..errors import EvaluationError
from ..evaluate.probe import carve
from ..evaluate.uncertainty import wilson
from ..models.encode import Encoder, load_cell
from ..models.precision import require_number_format
from ..records.data import EvaluationSetManifest
from ..records.evaluation import CheckpointMetrics, Measured, Mixture
from ..study.config.evaluation import FineTuning
from ..train.state import StateFolder
from .images import Images, read_images
from .loop import Classifier, Drawn, FineTune, accuracy, patched

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FineTuneJob:
    """One checkpoint to fine-tune on one set.

    merges: the tokenizer. model: name of the architecture. manifest: of the set. control: manifest of the zero-shot set
    that patching looks at. resume: folder of saved states. workers: processes that decode and augment; 0: this one.
    """

    checkpoint: Path
    merges: Path
    model: str
    manifest: Path
    control: Path | None
    settings: FineTuning
    resume: Path
    workers: int = 0

    def run(self) -> CheckpointMetrics | None:
        """Fine-tune and measure `fine_tune/{set}` and `patched/{set}`; None where a signal came.

        The mixture is chosen on a split carved from train; the tower that is measured as `fine_tune` saw all of train
        only where no mixture has to be chosen. EvaluationError where the set has no training split or the tower is no
        plain ViT.
        """
        encoder, about = load_cell(self.checkpoint, self.merges)
        report = CheckpointMetrics(cell=about["cell"], state=about["state"], metrics=[], mixtures=[])
        if encoder is None:
            return report
        if not hasattr(encoder.model.visual, "transformer"):
            raise EvaluationError(
                "its image tower is no plain vision transformer; only those are fine-tuned", place=str(self.checkpoint)
            )
        settings, device = self.settings, encoder.device
        require_number_format(settings.precision, device)
        manifest, (train, test) = self._read(self.manifest, encoder, ("train", "test"))
        kept, held = carve(train.labels.numpy(), settings.validation_share, settings.seed)
        mixes = bool(settings.mixing) and settings.head == "zeroshot"
        start = _classifier(encoder, manifest, settings)
        rate = settings.learning_rates.get(self.model, settings.learning_rate)
        folder = StateFolder(self.resume)
        fresh = _classifier(encoder, manifest, settings)
        drawn = Drawn(train.rows(kept) if mixes else train, settings)
        run = FineTune(fresh, drawn, rate, folder, device, self.workers)
        if not run.run():
            return None
        tuned, name, n = run.average.module, manifest.dataset, len(test.labels)
        rows = [self._row(f"fine_tune/{name}", self._accuracy(tuned, test, device), n)]
        mixtures: list[Mixture] = []
        if mixes:
            mixtures = self._mix(encoder, start, tuned, train.rows(held), test)
            rows.append(self._row(f"patched/{name}", next(m.test for m in mixtures if m.chosen), n))
        log.info(f"{about['cell']} " + " ".join(f"{row.dataset}={row.value:.4f}" for row in rows))
        folder.delete()
        return report.model_copy(update={"metrics": rows, "mixtures": mixtures})

    def _mix(self, encoder: Encoder, start: Classifier, tuned: Any, held: Images, test: Images) -> list[Mixture]:
        """Measure each mixture of weights, and choose one."""
        device, settings = encoder.device, self.settings
        control: dict[str, Any] = {}
        if self.control is not None:
            manifest, [images] = self._read(self.control, encoder, ("test",))
            head = _classifier(encoder, manifest, settings).head.detach()
        table = []
        for share, mixture in patched(start, tuned, settings.mixing):
            if self.control is not None:
                control = {"control": self._accuracy(mixture, images, device, head)}
            validation = self._accuracy(mixture, held, device)
            test_accuracy = self._accuracy(mixture, test, device)
            table.append(Mixture(share=share, validation=validation, test=test_accuracy, **control))
        chosen = choose(table, settings.max_control_loss)
        return [entry.model_copy(update={"chosen": entry is chosen}) for entry in table]

    def _accuracy(self, model: Any, images: Images, device: torch.device, head: torch.Tensor | None = None) -> float:
        return accuracy(model, images, device, head, self.settings.precision, self.workers)

    def _read(
        self, path: Path, encoder: Encoder, splits: tuple[str, ...]
    ) -> tuple[EvaluationSetManifest, list[Images]]:
        """Read a set's manifest and images."""
        found = open_set(path)
        for split in splits:
            _require(path, found, split)
        images = [read_images(found.folder, split, encoder.preprocess, self.workers) for split in splits]
        return found.manifest, images

    def _row(self, dataset: str, value: float, n: int) -> Measured:
        low, high = wilson(value, n)
        return Measured(
            dataset=dataset, task="fine_tune", metric="acc1", value=value, ci_low=low, ci_high=high, n=n,
            precision=self.settings.precision,
        )  # fmt: skip


def choose(table: list[Mixture], max_loss: float) -> Mixture:
    """Choose the best validation accuracy among mixtures whose control falls by at most `max_loss` from share 0.

    Of equals the one with less of the fine-tuned weights. Without a control all may be chosen.
    """
    least = min(table, key=lambda mixture: mixture.share).control
    allowed = [
        mixture for mixture in table if least is None or mixture.control is None or mixture.control >= least - max_loss
    ]
    return max(allowed, key=lambda mixture: (mixture.validation, -mixture.share))


def _classifier(encoder: Encoder, manifest: EvaluationSetManifest, settings: FineTuning) -> Classifier:
    """The zero-shot classifier of a set."""
    head = encoder.classes(manifest.classes, manifest.templates).to(encoder.device)
    return Classifier(encoder.model.visual, head, encoder.scale, settings).to(encoder.device)


def _require(path: Path, found: EvaluationSet, split: str) -> None:
    if not (found.folder / split / "nshards.txt").is_file():
        raise EvaluationError(f"the set has no {split} split, which fine-tuning needs", place=str(path))
