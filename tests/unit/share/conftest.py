"""A project folder with one cell that was trained, as far as an export looks at it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from clip_scaling.models.build import build_model, model_config_of
from clip_scaling.models.checkpoint import save_checkpoint, weights_sha256
from clip_scaling.models.tokenizer import train_merges, write_merges
from clip_scaling.plan.files import open_study
from clip_scaling.records import provenance
from clip_scaling.records.files import sha256_file, write_json
from clip_scaling.records.provenance import Code, keep_diff, write_lock
from clip_scaling.records.training import TrainRecord
from clip_scaling.share.locks import Results
from clip_scaling.study.config.training import Recipe
from clip_scaling.study.resolved import ResolvedStudy

from ..records.filled import filled
from ..records.manifests import source_manifest

CELL = "Model-ViT-nano-8_Data-Scenes-1K_Samples-8K_Seed-0"
HOME = Path("results/offline")
CAPTIONS = ["a small red square", "a large blue circle", "two green stars!", "it's a yellow line"] * 3
MODEL: dict[str, Any] = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 16, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
    "text_cfg": {"context_length": 8, "vocab_size": 600, "width": 16, "heads": 2, "layers": 1},
}


@dataclass(frozen=True)
class Trained:
    """A project of config/offline.yaml. checkpoint and merges: of the cell `CELL`."""

    root: Path
    study: ResolvedStudy
    checkpoint: Path
    merges: Path

    @property
    def results(self) -> Path:
        return self.root / "results" / "offline"


def train(root: Path, config: dict[str, Any] = MODEL, objective: str = "clip", state: str = "trained") -> None:
    """Write what training leaves of the cell; its weights are random."""
    recipe = Recipe(global_batch_size=128, learning_rate=1e-3, objective=objective)
    model_config = model_config_of(config, recipe)
    torch.manual_seed(0)
    weights = build_model(model_config).state_dict()
    merges = root / "results" / "data" / "scenes" / "tokenizer" / "merges.txt.gz"
    about = {
        "cell": CELL,
        "state": state,
        "model_config": model_config,
        "recipe": recipe.model_dump(),
        "recipe_version": 2,
        "tokenizer_sha256": sha256_file(merges),
    }
    folder = root / "results" / "offline" / "train" / CELL
    folder.mkdir(parents=True, exist_ok=True)
    save_checkpoint(folder / "checkpoint.pt", weights, about)
    record = {
        "model": "ViT-nano-8",
        "data": "Scenes-1K",
        "seed": 0,
        "unique_pairs": 1000,
        "order_digest": "a" * 64,
        "seen_digest": "b" * 16,
        "steps": 63,
        "samples_seen": 8064,
        "epochs": 8.064,
        "gmacs_per_sample": 0.0005,
        "compute_gmacs": 4.032,
        "parameters": 12345,
        "device": "cpu",
        "ranks": 1,
        "threads": 1,
        "resources": {"gpus": 0, "threads": 1},
        "attempts": [{"host": "node1", "started": 1.8e9, "from_step": 0, "slurm_job_id": "17"}],
        "provenance": provenance.provenance("torch").model_dump(mode="json"),
        "weights_sha256": weights_sha256(weights),
    }
    filled(TrainRecord, **(about | record)).write(folder / "train.json")


def measured(dataset: str, metric: str, value: float, low: float, high: float) -> dict[str, Any]:
    """A row of metrics.json."""
    return {"dataset": dataset, "task": "t", "metric": metric, "value": value, "ci_low": low, "ci_high": high, "n": 100}


@pytest.fixture
def trained(tmp_path: Path, repository: Path) -> Trained:
    root = tmp_path / "project"
    root.mkdir()
    (root / "config").symlink_to(repository / "config")
    source = root / "results" / "data" / "scenes"
    write_merges(source / "tokenizer" / "merges.txt.gz", train_merges(CAPTIONS, 600))
    (source / "ATTRIBUTION.md").write_text("# Attribution\n\nDrawn by this program.\n")
    about = source_manifest(name="scenes", order_digest="a" * 64, recipe={"kind": "procedural"})
    about.write(source / "manifest.json")
    study = open_study(root / "config" / "offline.yaml", root)
    train(root)
    return Trained(
        root,
        study,
        root / "results" / "offline" / "train" / CELL / "checkpoint.pt",
        source / "tokenizer" / "merges.txt.gz",
    )


@pytest.fixture
def locked(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Results]:
    """The trained cell, its evaluation by edited code, a law and a page: each with its lock."""
    root, results = trained.root, trained.results
    (results / "train" / CELL / "curve.jsonl").write_text("{}\n")
    monkeypatch.setattr(provenance, "code", lambda: Code("c0ffee" * 6 + "1234", "diff --git a/x b/x"))
    metrics = results / "evaluate" / CELL / "metrics.json"
    row = measured("scenes-captions", "contrastive_loss", 4.25, 4.12, 4.37)
    about = {
        "cell": CELL,
        "metrics": [row],
        "provenance": provenance.provenance("torch").model_dump(mode="json"),
        "checkpoint_sha256": "d" * 64,
    }
    write_json(metrics, about)
    keep_diff(metrics)
    for path in (results / "laws" / "scenes-captions" / "contrastive_loss.json", results / "report.html"):
        write_json(path, {})
        write_lock(path, [metrics], "numpy")
    return root, Results(
        name="offline",
        config={"study": trained.study.config.model_dump(mode="json"), "suite": None},
        cells=[HOME / "train" / CELL / "train.json"],
        evaluations=[HOME / "evaluate" / CELL / "metrics.json"],
        laws=[HOME / "laws" / "scenes-captions" / "contrastive_loss.json"],
        pages=[HOME / "report.html"],
        manifests=[Path("results/data/scenes/manifest.json")],
    )
