"""Find evaluation images that a data set's training images repeat, and measure its cells with them left out."""

import argparse
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from clip_scaling.data.duplicates.fingerprints import UNREADABLE, read_fingerprints
from clip_scaling.data.evaluation_sets.read import open_set
from clip_scaling.data.subsets.places import subset_places
from clip_scaling.errors import run_script
from clip_scaling.evaluate.contamination import contamination_rows, overlapping_rows
from clip_scaling.evaluate.suite import SuiteEvaluator, protocol_of
from clip_scaling.models.encode import load_cell
from clip_scaling.records.data import SubsetManifest
from clip_scaling.records.evaluation import CONTAMINATION_TABLE
from clip_scaling.records.seal import sealed_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path, help="manifest of the training data, a subset")
    parser.add_argument("--fingerprints", required=True, type=Path, help="fingerprints.npy of its source")
    parser.add_argument("--checkpoints", required=True, type=Path, nargs="+", help="cells trained on that data")
    parser.add_argument("--sets", required=True, type=Path, nargs="+", help="manifests of the evaluation sets")
    parser.add_argument("--tokenizer", required=True, type=Path, help="merges.txt.gz of the checkpoints")
    parser.add_argument("--batch-size", type=int, default=256, help="images or captions a forward pass")
    parser.add_argument("--loss-batch-size", type=int, default=250, help="fixed batch of the held-out contrastive loss")
    parser.add_argument("--on-unreadable", choices=["error", "skip"], default="error")
    parser.add_argument("--output", required=True, type=Path, help="table of the overlap, CSV")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    protocol = protocol_of({"on_unreadable": args.on_unreadable}, args.batch_size, args.loss_batch_size)
    images = read_fingerprints(args.fingerprints)[subset_places(args.data)]
    # Plain images too, as in the paper, although noise decides their hash.
    training = np.unique(images["phash"][images["state"] != UNREADABLE])
    logging.info(f"{args.data}: {len(training)} distinct perceptual hashes")
    data = SubsetManifest.read(args.data).name
    evaluator = SuiteEvaluator(list(map(open_set, args.sets)), protocol)
    overlaps = []
    for found in evaluator.sets:
        rows, n = overlapping_rows(found, training, args.on_unreadable)
        logging.info(f"{found.name}: {len(rows)} of {n} images are in the training data")
        overlaps.append(rows)
    table = []
    for checkpoint in args.checkpoints:
        encoder, about = load_cell(checkpoint, args.tokenizer)
        if encoder is None:  # it diverged: it has no metrics
            continue
        which = {"cell": about["cell"], "data": data}
        for found, rows in zip(evaluator.sets, overlaps, strict=True):
            table += contamination_rows(evaluator, encoder, which, found, rows)
    with sealed_path(args.output) as temporary:
        pd.DataFrame(table, columns=CONTAMINATION_TABLE.names).to_csv(temporary, index=False)


if __name__ == "__main__":
    run_script(main)
