"""Fine-tune a checkpoint's image tower on one set, measure it on the test split, and try the weights in between.

The same command continues a run that was stopped; signals save it at the next step, and it ends with exit code 75.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.study.config.evaluation import FineTuning
from clip_scaling.train.signals import EXIT_SAVED, ignore, listen


def main() -> None:
    listen()  # before torch is imported: a signal must not be missed
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", required=True, type=Path)
    parser.add_argument("--tokenizer", required=True, type=Path, help="merges.txt.gz of the checkpoint")
    parser.add_argument("--model", required=True, help="its name, for its peak rate")
    parser.add_argument("--set", required=True, type=Path, help="manifest of the set, with a training split")
    parser.add_argument("--control", type=Path, nargs="?", help="manifest of the zero-shot set that patching looks at")
    parser.add_argument("--settings", required=True, type=json.loads, help="JSON: the suite's `fine_tuning`")
    parser.add_argument("--resume", required=True, type=Path, help="folder of saved states")
    parser.add_argument("--output", required=True, type=Path, help="JSON to write")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--workers", type=int, help="processes that decode and augment images; default: one a thread")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    import torch

    from clip_scaling.finetune.job import FineTuneJob  # first: it comes before all that imports open_clip

    # isort: split
    from clip_scaling.data.evaluation_sets.parallel import workers_of
    from clip_scaling.records.provenance import code, keep_diff, provenance

    torch.set_num_threads(args.threads)
    code()  # before a long run, in which the checkout may move on
    settings = FineTuning.model_validate(args.settings)
    workers = workers_of(args.workers, args.threads, has_gpu=torch.cuda.is_available())
    job = FineTuneJob(
        args.checkpoint, args.tokenizer, args.model, args.set, args.control, settings, args.resume, workers
    )
    found = job.run()
    if found is None:
        ignore()
        sys.exit(EXIT_SAVED)
    made_by = provenance("torch", "open_clip_torch", "timm")
    found.model_copy(update={"provenance": made_by}).write(args.output)
    keep_diff(args.output)


if __name__ == "__main__":
    run_script(main)
