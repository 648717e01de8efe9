"""Evaluate checkpoints on every set of the suite: zero-shot, retrieval, linear probes and their means.

The store keeps what was measured before; it can be deleted at any time. Several checkpoints share one process
(--checkpoint A B --output a.json b.json). A state saved in training (resume/step-*.pt, a trunk's state.pt) is evaluated
too: --recipe, as scripts/train.py takes it, says what model it is of.
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from clip_scaling.errors import run_script
from clip_scaling.machine.warm import hand_over


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True, type=Path, nargs="+")
    parser.add_argument("--sets", required=True, type=Path, nargs="+", help="manifests of the evaluation sets")
    parser.add_argument(
        "--tokenizer", required=True, type=Path, help="merges.txt.gz that the checkpoints were trained with"
    )
    parser.add_argument("--batch-size", type=int, default=256, help="images or captions a forward pass")
    parser.add_argument("--loss-batch-size", type=int, default=250, help="fixed batch of the held-out contrastive loss")
    parser.add_argument(
        "--suite", type=json.loads, default={}, help='JSON: {"probes": {dataset: shots}, "linear_probe", "aggregates"}'
    )
    parser.add_argument("--store", type=Path, help="folder of features and scores that are kept")
    parser.add_argument("--store-mb", type=float, default=500, help="cap on the store")
    parser.add_argument("--recipe", type=json.loads, help='JSON {"recipe", "model_config"}: of saved states')
    parser.add_argument("--cell", help="of saved states")
    parser.add_argument("--output", required=True, type=Path, nargs="+", help="evaluation of each checkpoint, JSON")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    if len(args.checkpoint) != len(args.output):
        parser.error(f"{len(args.checkpoint)} checkpoints, but {len(args.output)} outputs: give one for each")
    if bool(args.recipe) != bool(args.cell):
        parser.error("--recipe and --cell go together: both say what a saved state is of")
    import torch

    import clip_scaling.models.fast_import  # noqa: F401, before all that imports open_clip

    # isort: split
    from clip_scaling.data.evaluation_sets.read import KeptImages, open_set
    from clip_scaling.evaluate.store import Store
    from clip_scaling.evaluate.suite import SuiteEvaluator, protocol_of
    from clip_scaling.models.build import model_config_of
    from clip_scaling.models.encode import load_cell, load_state
    from clip_scaling.records.evaluation import CheckpointMetrics
    from clip_scaling.records.files import sha256_file
    from clip_scaling.records.provenance import code, keep_diff, provenance
    from clip_scaling.study.config.training import Recipe

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    code()  # before a long evaluation, in which the checkout may move on
    protocol = protocol_of(args.suite, args.batch_size, args.loss_batch_size)
    kept = KeptImages() if len(args.checkpoint) > 1 else None
    evaluator = SuiteEvaluator(list(map(open_set, args.sets)), protocol, Store(args.store, args.store_mb * 1e6), kept)
    sets_sha256 = {path.parent.name: sha256_file(path) for path in args.sets}
    for checkpoint, output in zip(args.checkpoint, args.output, strict=True):
        about: dict[str, Any]
        if args.recipe:
            recipe = Recipe.model_validate(args.recipe["recipe"])
            encoder, about = load_state(
                checkpoint, args.tokenizer, model_config_of(args.recipe["model_config"], recipe)
            )
            about |= {"cell": args.cell, "samples_seen": about["step"] * recipe.global_batch_size}
        else:
            encoder, about = load_cell(checkpoint, args.tokenizer)
        CheckpointMetrics(
            **{key: about[key] for key in ("cell", "state", "step", "samples_seen") if key in about},
            checkpoint_sha256=sha256_file(checkpoint),
            sets_sha256=sets_sha256,
            metrics=evaluator.run(encoder, about["cell"]) if encoder else [],
            provenance=provenance("torch", "open_clip_torch", "numpy", "pillow", "torchvision", "webdataset"),
        ).write(output)
        keep_diff(output)


if __name__ == "__main__":
    hand_over()
    run_script(main)
