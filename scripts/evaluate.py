"""Evaluate one checkpoint on every set of the suite, loading the model once."""

import argparse
import logging
from pathlib import Path

import torch

from clip_scaling.errors import run_script
from clip_scaling.evaluate.suite import evaluate_checkpoint
from clip_scaling.manifests import sha256_file, write_json
from clip_scaling.provenance import provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument("--sets", required=True, type=Path, nargs="+", help="manifests of the evaluation sets")
    parser.add_argument(
        "--tokenizer", required=True, type=Path, help="merges.txt.gz that the checkpoint was trained with"
    )
    parser.add_argument("--batch-size", type=int, default=256, help="images or captions a forward pass")
    parser.add_argument("--loss-batch-size", type=int, default=250, help="fixed batch of the held-out contrastive loss")
    parser.add_argument("--output", required=True, type=Path, help="metrics.json")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    rows, about = evaluate_checkpoint(args.checkpoint, args.sets, args.tokenizer, args.batch_size, args.loss_batch_size)
    write_json(
        args.output,
        {
            "cell": about["cell"],
            "state": about["state"],
            "checkpoint_sha256": sha256_file(args.checkpoint),
            "metrics": [row.as_dict() for row in rows],
            "provenance": provenance("torch", "open_clip_torch"),
        },
    )


if __name__ == "__main__":
    run_script(main)
