"""Train one cell of the grid: packed pairs -> checkpoint, record and curve."""

import argparse
import json
import logging
from pathlib import Path

import torch

from clip_scaling.compute import gmacs_per_sample
from clip_scaling.config import Recipe
from clip_scaling.data.packed import open_packed
from clip_scaling.errors import run_script
from clip_scaling.grid import Cell
from clip_scaling.manifests import write_json, write_text
from clip_scaling.provenance import provenance
from clip_scaling.train.loop import Progress, train
from clip_scaling.train.model import save_checkpoint, weights_sha256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cell", required=True, type=Cell.parse, help="Model-..._Data-..._Samples-..._Seed-...")
    parser.add_argument("--packed", required=True, type=Path, help="manifest of the packed subset")
    parser.add_argument(
        "--recipe", required=True, type=json.loads, help='JSON: {"recipe", "model_config", "recipe_version"}'
    )
    parser.add_argument("--checkpoint", required=True, type=Path, help="written last: weights")
    parser.add_argument("--record", required=True, type=Path, help="train.json")
    parser.add_argument("--curve", required=True, type=Path, help="curve.jsonl")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)

    cell: Cell = args.cell
    recipe = Recipe.model_validate(args.recipe["recipe"])
    pairs = open_packed(args.packed)
    last = [0.0]

    def report(now: Progress) -> None:
        if now.seconds - last[0] > 5 or now.samples >= cell.samples_seen:
            last[0] = now.seconds
            left = now.seconds / now.samples * max(0, cell.samples_seen - now.samples)
            logging.info(
                f"{cell.name} step={now.step} samples={now.samples} loss={now.loss:.3f} lr={now.learning_rate:.2e} "
                f"pairs/s={now.samples / now.seconds:.0f} left={left:.0f}s"
            )

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trained = train(args.recipe["model_config"], recipe, pairs, cell.samples_seen, cell.seed, device, report)
    gmacs = gmacs_per_sample(args.recipe["model_config"])
    about = {
        "cell": cell.name,
        "model_config": args.recipe["model_config"],
        "recipe": recipe.model_dump(),
        "recipe_version": args.recipe["recipe_version"],
        "tokenizer_sha256": pairs.manifest["tokenizer_sha256"],
    }
    record = about | {
        "model": cell.model,
        "data": cell.data,
        "seed": cell.seed,
        "unique_pairs": pairs.manifest["pairs"],
        "order_digest": pairs.manifest["order_digest"],
        "steps": trained.steps,
        "samples_seen": trained.samples_seen,
        "epochs": trained.samples_seen / pairs.manifest["pairs"],
        "gmacs_per_sample": gmacs["total"],
        "compute_gmacs": gmacs["total"] * trained.samples_seen,
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "final_loss": trained.final_loss,
        "seconds": trained.seconds,
        "samples_per_second": trained.samples_seen / trained.seconds,
        "device": str(device),
        "threads": args.threads,
        "weights_sha256": weights_sha256(trained.model.state_dict()),
        "provenance": provenance("torch", "open_clip_torch", "numpy"),
    }
    write_text(args.curve, "".join(json.dumps(line) + "\n" for line in trained.curve))
    write_json(args.record, record)
    save_checkpoint(args.checkpoint, trained.model, about)


if __name__ == "__main__":
    run_script(main)
