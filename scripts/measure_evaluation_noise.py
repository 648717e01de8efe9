"""Measure how much each metric moves under bfloat16 autocast and under another batch size, on one checkpoint."""

import argparse
import json
import logging
from pathlib import Path

import pandas as pd
import torch

from clip_scaling.data.evaluation_sets.parallel import workers_of
from clip_scaling.data.evaluation_sets.read import open_set
from clip_scaling.errors import EvaluationError, run_script
from clip_scaling.evaluate.noise import evaluation_noise
from clip_scaling.evaluate.suite import SuiteEvaluator, protocol_of
from clip_scaling.models.encode import load_cell
from clip_scaling.records.evaluation import EVALUATION_NOISE_TABLE
from clip_scaling.records.seal import sealed_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument("--sets", required=True, type=Path, nargs="+", help="manifests of the evaluation sets")
    parser.add_argument("--tokenizer", required=True, type=Path, help="merges.txt.gz of the checkpoint")
    parser.add_argument("--batch-size", type=int, default=256, help="images or captions a forward pass")
    parser.add_argument("--other-batch-size", type=int, default=100, help="that the metrics are measured with too")
    parser.add_argument("--loss-batch-size", type=int, default=250, help="fixed batch of the held-out contrastive loss")
    parser.add_argument("--suite", type=json.loads, default={}, help="JSON, as evaluate.py takes it")
    parser.add_argument("--output", required=True, type=Path, help="evaluation_noise.csv")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--workers", type=int, help="processes that decode images; default: one a thread")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    encoder, about = load_cell(args.checkpoint, args.tokenizer)
    if encoder is None:
        raise EvaluationError(f"{args.checkpoint}: {about['cell']} diverged, it has no metrics. Name another cell.")
    protocol = protocol_of(args.suite, args.batch_size, args.loss_batch_size)
    workers = workers_of(args.workers, args.threads, has_gpu=torch.cuda.is_available())
    evaluator = SuiteEvaluator(list(map(open_set, args.sets)), protocol, workers=workers)
    rows = evaluation_noise(encoder, about["cell"], evaluator, args.other_batch_size)
    with sealed_path(args.output) as temporary:
        pd.DataFrame(rows, columns=EVALUATION_NOISE_TABLE.names).to_csv(temporary, index=False)


if __name__ == "__main__":
    run_script(main)
