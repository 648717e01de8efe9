"""Where every result lies: the only place that spells the path grammar (docs/design.md).

Rules pass wildcards (`"{cell}"`) for names, so that a rule and the library agree on a path.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..records import filenames as names


@dataclass(frozen=True)
class DataPaths:
    """Sources, subsets and evaluation sets, shared by all studies. root: the folder of all results."""

    root: Path = Path("results")

    def folder(self, name: str) -> Path:
        """Folder of a source or a subset."""
        return self.root / "data" / name

    def manifest(self, name: str) -> Path:
        """Manifest of a source, a subset or an evaluation set (`eval-...`)."""
        return self.folder(name) / names.MANIFEST

    def tokenizer(self, source: str) -> Path:
        """Byte-pair merges of a source."""
        return self.folder(source) / "tokenizer" / names.MERGES

    def fingerprints(self, name: str) -> Path:
        """Perceptual hashes of the images of a source or an evaluation set."""
        return self.folder(name) / names.FINGERPRINTS

    def packed(self, data: str, image_size: int | str, context_length: int | str) -> Path:
        """Manifest of a subset's packed pairs."""
        return self.folder(data) / "packed" / f"{image_size}px-{context_length}tokens" / names.MANIFEST

    @staticmethod
    def evaluation_set(dataset: str) -> str:
        """Name of an evaluation set's folder."""
        return f"eval-{dataset}"


@dataclass(frozen=True)
class StudyPaths:
    """Everything that belongs to one study. root: the folder of all results."""

    study: str
    root: Path = Path("results")

    @property
    def folder(self) -> Path:
        """results/{study}"""
        return self.root / self.study

    def train(self, cell: str) -> Path:
        """Folder of a cell's training."""
        return self.folder / "train" / cell

    def checkpoint(self, cell: str) -> Path:
        """Final weights of a cell."""
        return self.train(cell) / names.CHECKPOINT

    def trained(self, cell: str) -> Path:
        """Record of a finished cell."""
        return self.train(cell) / names.TRAINED

    def curve(self, cell: str) -> Path:
        """Training loss of a cell by step."""
        return self.train(cell) / names.CURVE

    def resume(self, cell: str) -> Path:
        """Saved states, attempts and heartbeat of a cell that is in training."""
        return self.train(cell) / "resume"

    def part(self, cell: str, step: int | str) -> Path:
        """Folder of a cell's state after a step on its way."""
        return self.train(cell) / "parts" / str(step)

    def trunk(self, trunk: str, samples: str) -> Path:
        """Folder of the state of a trunk (schedule wsd) at a branch point."""
        return self.folder / "trunk" / trunk / samples

    def metrics(self, cell: str) -> Path:
        """Zero-shot, retrieval and probe metrics of a cell."""
        return self.folder / "evaluate" / cell / names.METRICS

    def fine_tuned(self, cell: str, dataset: str) -> Path:
        """Metrics of a cell fine-tuned on a set."""
        return self.folder / "fine_tune" / cell / dataset / names.METRICS

    def table(self, name: str, suffix: str = "csv") -> Path:
        """A table of the study."""
        return self.folder / "tables" / f"{name}.{suffix}"

    def law(self, dataset: str, metric: str) -> Path:
        """All laws of one target."""
        return self.folder / names.law_place(dataset, metric)

    def plan(self, name: str = names.PLAN) -> Path:
        """A file of the plan."""
        return self.folder / "plan" / name

    def data(self, data: str, name: str) -> Path:
        """A file about a subset that depends on the study: duplicates, data card."""
        return self.folder / "data" / data / name

    def log(self, stem: str) -> Path:
        """Log of the job whose output has this stem."""
        return self.root / "logs" / self.study / f"{stem}.log"

    def benchmark(self, stem: str) -> Path:
        """Snakemake's benchmark of the job whose output has this stem."""
        return self.root / "benchmarks" / self.study / f"{stem}.tsv"
