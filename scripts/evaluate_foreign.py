"""Evaluate checkpoints that were not trained here: an open_clip model with a file of weights, or the released models.

python scripts/evaluate_foreign.py --model ViT-B-32 --pretrained weights.pt --sets MANIFEST ... \\
    --output results/foreign
python scripts/evaluate_foreign.py --released FOLDER --sets ... --output results/foreign
"""

import argparse
import json
import logging
from pathlib import Path

import torch

from clip_scaling.data.evaluation_sets.parallel import workers_of
from clip_scaling.errors import run_script
from clip_scaling.evaluate.foreign import foreign_models, load_foreign, named_set, released_models
from clip_scaling.evaluate.import_results import tidy_evaluations
from clip_scaling.evaluate.naming import refuse_clashes
from clip_scaling.evaluate.store import Store
from clip_scaling.evaluate.suite import SuiteEvaluator, protocol_of
from clip_scaling.records.evaluation import OutsideMetrics
from clip_scaling.records.files import atomic_path
from clip_scaling.records.provenance import provenance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", help="open_clip's name of a model, or a JSON file in its format")
    which.add_argument("--released", type=Path, help="folder of released models, Model-B-32_Data-..._bs-86k.pt")
    parser.add_argument("--pretrained", type=Path, nargs="+", default=[], help="files of weights of --model")
    parser.add_argument("--preprocess", type=json.loads, default={}, help='JSON: {"mean", "std", "resize_mode", ...}')
    parser.add_argument("--sets", required=True, type=Path, nargs="+", help="manifests of the evaluation sets")
    parser.add_argument("--batch-size", type=int, default=256, help="images or captions a forward pass")
    parser.add_argument("--loss-batch-size", type=int, default=250, help="fixed batch of the held-out contrastive loss")
    parser.add_argument(
        "--suite", type=json.loads, default={}, help='JSON: {"probes": {dataset: shots}, "linear_probe", "aggregates"}'
    )
    parser.add_argument("--store", type=Path, help="folder of features and scores that are kept")
    parser.add_argument("--store-mb", type=float, default=500, help="cap on the store")
    parser.add_argument("--source", default="foreign", help="name of these runs in the table")
    parser.add_argument("--output", required=True, type=Path, help="folder of {checkpoint}.json and metrics.csv")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--workers", type=int, help="processes that decode images; default: one a thread")
    args = parser.parse_args()
    if bool(args.model) != bool(args.pretrained):
        parser.error("--model goes with --pretrained FILE ...")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    protocol = protocol_of(args.suite, args.batch_size, args.loss_batch_size)
    sets = list(map(named_set, args.sets))
    workers = workers_of(args.workers, args.threads, has_gpu=torch.cuda.is_available())
    evaluator = SuiteEvaluator(sets, protocol, Store(args.store, args.store_mb * 1e6), workers=workers)
    found = (
        released_models(args.released)
        if args.released
        else foreign_models(args.model, args.pretrained, args.preprocess)
    )
    refuse_clashes({foreign.cell: foreign.weights for foreign in found if foreign.weights.is_file()}, args.output)
    evaluations = []
    for foreign in found:
        encoder, about = load_foreign(foreign)
        evaluation = OutsideMetrics(**about, metrics=evaluator.run(encoder, foreign.cell))
        evaluations.append(evaluation)
        made_by = provenance("torch", "open_clip_torch")
        evaluation.model_copy(update={"provenance": made_by}).write(args.output / f"{foreign.cell}.json")
    with atomic_path(args.output / "metrics.csv") as temporary:
        tidy_evaluations(evaluations, args.source).to_csv(temporary, index=False)


if __name__ == "__main__":
    run_script(main)
