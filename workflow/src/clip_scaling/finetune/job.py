"""Fine-tuning of one checkpoint on one set, from its files to its numbers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..models import fast_import as plain_towers  # noqa: F401, before all that imports open_clip

# isort: split
from ..errors import EvaluationError
from ..evaluate.encode import encode_classes, read_batches
from ..evaluate.intervals import wilson
from ..evaluate.probe import carve
from ..models.build import load_checkpoint
from ..models.tokenizer import load_tokenizer
from ..records.files import read_json, sha256_file, verify_files
from ..study.config.evaluation import FineTuning
from ..train.state import StateFolder
from .loop import Classifier, FineTune, LabelledImages, accuracy, patched

log = logging.getLogger(__name__)


def fine_tune_checkpoint(
    checkpoint: Path,
    merges: Path,
    model_name: str,
    manifest_path: Path,
    control_path: Path | None,
    settings: FineTuning,
    resume: Path,
) -> dict[str, Any] | None:
    """Rows of metrics (`fine_tune/{set}`, `patched/{set}`) and the table of mixtures; None where a signal came.

    The mixture is chosen on a split carved from train; the tower that is measured as `fine_tune` saw all of train only
    where no mixture has to be chosen. EvaluationError where the set has no training split or the tower is no plain ViT.
    """
    model, about = load_checkpoint(checkpoint)
    report: dict[str, Any] = {"cell": about["cell"], "state": about["state"], "metrics": [], "mixtures": []}
    if about["state"] == "diverged":
        return report
    if not hasattr(model.visual, "transformer"):
        raise EvaluationError(
            f"{checkpoint}: its image tower is no plain vision transformer; only those are fine-tuned."
        )
    if sha256_file(merges) != about["tokenizer_sha256"]:
        raise EvaluationError(f"{checkpoint}: trained with another tokenizer than {merges}. Train the cell again.")
    config = about["model_config"]
    tokenizer = load_tokenizer(merges, config["text_cfg"].get("context_length", 77))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = model.to(device)
    size, scale = config["vision_cfg"].get("image_size", 224), model.logit_scale.exp().item()

    def classifier(manifest: dict[str, Any]) -> Classifier:
        head = encode_classes(model, tokenizer, manifest["classes"], manifest["templates"], device)
        return Classifier(model.visual, head.to(device), scale, settings).to(device)

    manifest, images = _read(manifest_path, size, ("train", "test"))
    train, test = images["train"], images["test"]
    kept, held = carve(train.labels.numpy(), settings.validation_share, settings.seed)
    mixes = bool(settings.mixing) and settings.head == "zeroshot"
    start = classifier(manifest)
    rate = settings.learning_rates.get(model_name, settings.learning_rate)
    folder = StateFolder(resume)
    run = FineTune(classifier(manifest), train.rows(kept) if mixes else train, settings, rate, folder, device)
    if not run.run():
        return None
    tuned = run.average.module
    name = manifest["dataset"]
    rows = [_row(f"fine_tune/{name}", accuracy(tuned, test, device), len(test.labels))]
    if mixes:
        control = _control(control_path, size, classifier)
        table = []
        for share, mixture in patched(start, tuned, settings.mixing):
            entry = {"share": share, "validation": accuracy(mixture, train.rows(held), device)}
            if control is not None:
                head, pictures = control
                entry["control"] = accuracy(mixture, pictures, device, head)
            entry["test"] = accuracy(mixture, test, device)
            table.append(entry)
        chosen = choose(table, settings.max_control_loss)
        report["mixtures"] = [entry | {"chosen": entry is chosen} for entry in table]
        rows.append(_row(f"patched/{name}", chosen["test"], len(test.labels)))
    log.info(f"{about['cell']} " + " ".join(f"{row['dataset']}={row['value']:.4f}" for row in rows))
    folder.delete()
    return report | {"metrics": rows}


def choose(table: list[dict[str, float]], max_loss: float) -> dict[str, float]:
    """The mixture with the best validation accuracy of those whose control falls by at most `max_loss` from share 0.

    Of equals the one with less of the fine-tuned weights. Without a control all may be chosen.
    """
    first = min(table, key=lambda entry: entry["share"])
    allowed = [entry for entry in table if "control" not in entry or entry["control"] >= first["control"] - max_loss]
    return max(allowed, key=lambda entry: (entry["validation"], -entry["share"]))


def _row(dataset: str, value: float, n: int) -> dict[str, Any]:
    low, high = wilson(value, n)
    return {
        "dataset": dataset,
        "task": "fine_tune",
        "metric": "acc1",
        "value": value,
        "ci_low": low,
        "ci_high": high,
        "n": n,
    }


def _read(path: Path, size: int, splits: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, LabelledImages]]:
    manifest = read_json(path)
    folder = Path(manifest.get("folder", path.parent))
    verify_files(manifest["files"], folder, f"Delete {path} and run `snakemake --cores all {path}`.")
    found = {}
    for split in splits:
        if not (folder / split / "nshards.txt").is_file():
            raise EvaluationError(f"{path}: the set has no {split} split, which fine-tuning needs.")
        batches = list(read_batches(folder, size, 512, split=split))
        labels = np.array([label for batch in batches for label in batch.labels])
        found[split] = LabelledImages(torch.cat([batch.pixels for batch in batches]), torch.from_numpy(labels))
    return manifest, found


def _control(path: Path | None, size: int, classifier: Any) -> tuple[torch.Tensor, LabelledImages] | None:
    """The head and the test images of the control set."""
    if path is None:
        return None
    manifest, images = _read(path, size, ("test",))
    return classifier(manifest).head.detach(), images["test"]
