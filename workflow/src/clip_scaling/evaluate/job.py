"""Evaluation of one checkpoint, or of a state saved in training, from its files to its numbers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..models.build import model_config_of
from ..models.encode import Encoder, load_cell, load_state
from ..records.data import EvaluationSetManifest
from ..records.evaluation import CheckpointMetrics, EvaluationCut, EvaluationShare, Piece
from ..records.files import sha256_file
from ..study.config.training import Recipe
from .suite import SuiteEvaluator


@dataclass(frozen=True)
class EvaluateJob:
    """One checkpoint to evaluate.

    merges: the tokenizer. recipe: {"recipe", "model_config"} of a saved state, and cell the name of its run; None for a
    checkpoint, which says both itself.
    """

    checkpoint: Path
    merges: Path
    recipe: dict[str, Any] | None = None
    cell: str | None = None

    def load(self) -> tuple[Encoder | None, dict[str, Any]]:
        """Load the model, none where it diverged, and what its file says of it."""
        if self.recipe is None:
            return load_cell(self.checkpoint, self.merges)
        recipe = Recipe.model_validate(self.recipe["recipe"])
        model_config = model_config_of(self.recipe["model_config"], recipe)
        encoder, about = load_state(self.checkpoint, self.merges, model_config)
        return encoder, about | {"cell": self.cell, "samples_seen": about["step"] * recipe.global_batch_size}

    def run(self, evaluator: SuiteEvaluator) -> CheckpointMetrics:
        """Measure all sets; a model that diverged has no metrics. Stopped where a signal came."""
        encoder, about = self.load()
        evaluator.seconds.clear()
        return CheckpointMetrics(
            **{key: about[key] for key in ("cell", "state", "step", "samples_seen") if key in about},
            checkpoint_sha256=sha256_file(self.checkpoint),
            metrics=evaluator.run(encoder, about["cell"]) if encoder else [],
            seconds=dict(evaluator.seconds),
        )

    def run_share(self, evaluator: SuiteEvaluator, pieces: Sequence[Piece]) -> EvaluationShare:
        """Put one job's share of an evaluation into the store. Stopped where a signal came."""
        start = time.monotonic()
        if pieces:
            encoder, _ = self.load()
            sets = {found.name: found for found in evaluator.sets}
            for piece in pieces if encoder else ():
                assert encoder is not None
                if piece.split is None:
                    evaluator.measure_set(encoder, sets[piece.dataset])
                else:
                    evaluator.blocks(encoder, sets[piece.dataset], piece.split).fill(piece.first, piece.end)
        return EvaluationShare(pieces=list(pieces), seconds=round(time.monotonic() - start, 3))


def share_of(cut: Path, job: int, sets: Sequence[Path]) -> tuple[list[Piece], list[Path]]:
    """Read the pieces of a job, from 1 on, and the manifests of their sets: opening others would hash their files."""
    pieces = EvaluationCut.read(cut).jobs[job - 1]
    names = {piece.dataset for piece in pieces}
    return pieces, [path for path in sets if EvaluationSetManifest.read(path).dataset in names]
