"""Evaluate one checkpoint on every set of the suite: zero-shot, retrieval, linear probes and their means.

What was measured before is taken from the store; it can be deleted at any time.
"""

import argparse
import json
import logging
from pathlib import Path

import torch

from clip_scaling.config import Aggregate, LinearProbes
from clip_scaling.errors import run_script
from clip_scaling.evaluate.store import Store
from clip_scaling.evaluate.suite import Protocol, evaluate_checkpoint
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
    parser.add_argument(
        "--suite", type=json.loads, default={}, help='JSON: {"probes": {dataset: shots}, "linear_probe", "aggregates"}'
    )
    parser.add_argument("--store", type=Path, help="folder of features and scores that are kept")
    parser.add_argument("--store-mb", type=float, default=500, help="cap on the store")
    parser.add_argument("--output", required=True, type=Path, help="metrics.json")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    protocol = Protocol(
        batch_size=args.batch_size,
        loss_batch_size=args.loss_batch_size,
        probes=args.suite.get("probes"),
        linear_probe=LinearProbes.model_validate(args.suite.get("linear_probe", {})),
        aggregates=[Aggregate.model_validate(mean) for mean in args.suite.get("aggregates", [])],
    )
    store = Store(args.store, args.store_mb * 1e6) if args.store else None
    rows, about = evaluate_checkpoint(args.checkpoint, args.sets, args.tokenizer, protocol, store)
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
