"""Evaluate checkpoints on every set of the suite: zero-shot, retrieval, linear probes and their means.

The store keeps what was measured before; it can be deleted at any time. Several checkpoints share one process
(--checkpoint A B --output a.json b.json). A state saved in training (resume/step-*.pt, a trunk's state.pt) is evaluated
too: --recipe, as scripts/train.py takes it, says what model it is of. Signals end it after the next batch with exit
code 75; the same command goes on from the store.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.machine.warm import hand_over
from clip_scaling.train.signals import EXIT_SAVED, ignore, listen, received


def parse() -> argparse.Namespace:
    """Read the command line."""
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
    parser.add_argument("--cut", type=Path, help="how the evaluation is cut into jobs: fill the store with one's share")
    parser.add_argument("--job", type=int, help="which of them, from 1")
    parser.add_argument("--recipe", type=json.loads, help='JSON {"recipe", "model_config"}: of saved states')
    parser.add_argument("--cell", help="of saved states")
    parser.add_argument("--output", required=True, type=Path, nargs="+", help="evaluation of each checkpoint, JSON")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--workers", type=int, help="processes that decode images; default: one a thread")
    args = parser.parse_args()
    if len(args.checkpoint) != len(args.output):
        parser.error(f"{len(args.checkpoint)} checkpoints, but {len(args.output)} outputs: give one for each")
    if bool(args.recipe) != bool(args.cell):
        parser.error("--recipe and --cell go together: both say what a saved state is of")
    if bool(args.cut) != bool(args.job) or args.cut and (len(args.checkpoint) > 1 or args.store is None):
        parser.error("--cut and --job go together, with one checkpoint and a --store")
    return args


def main() -> None:
    listen()  # before torch is imported: a signal must not be missed
    args = parse()
    import torch

    import clip_scaling.models.fast_import  # noqa: F401, before all that imports open_clip

    # isort: split
    from clip_scaling.data.evaluation_sets.parallel import workers_of
    from clip_scaling.data.evaluation_sets.read import KeptImages, open_set
    from clip_scaling.evaluate.job import EvaluateJob, share_of
    from clip_scaling.evaluate.store import Store
    from clip_scaling.evaluate.suite import Stopped, SuiteEvaluator, protocol_of
    from clip_scaling.records.files import sha256_file
    from clip_scaling.records.provenance import code, keep_diff, provenance

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    code()  # before a long evaluation, in which the checkout may move on
    share, args.sets = share_of(args.cut, args.job, args.sets) if args.cut else (None, args.sets)
    evaluator = SuiteEvaluator(
        list(map(open_set, args.sets)),
        protocol_of(args.suite, args.batch_size, args.loss_batch_size),
        Store(args.store, args.store_mb * 1e6),
        KeptImages() if len(args.checkpoint) > 1 else None,
        lambda: received() is not None,
        workers=workers_of(args.workers, args.threads, has_gpu=torch.cuda.is_available()),
    )
    sets_sha256 = {path.parent.name: sha256_file(path) for path in args.sets}
    try:
        for checkpoint, output in zip(args.checkpoint, args.output, strict=True):
            job = EvaluateJob(checkpoint, args.tokenizer, args.recipe, args.cell)
            if share is not None:
                job.run_share(evaluator, share).write(output)
                return
            found = job.run(evaluator)
            made_by = provenance("torch", "open_clip_torch", "numpy", "pillow", "torchvision", "webdataset")
            found.model_copy(update={"sets_sha256": sets_sha256, "provenance": made_by}).write(output)
            keep_diff(output)
    except Stopped:
        ignore()
        print(f"stopped by {received()}: the same command goes on from the store", flush=True)
        sys.exit(EXIT_SAVED)


if __name__ == "__main__":
    hand_over(is_listening=True)
    run_script(main)
