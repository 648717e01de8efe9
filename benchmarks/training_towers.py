"""CPU time of a training step on the tokens that are there, against open_clip's whole towers.

python benchmarks/training_towers.py [CASE ...] [--rounds 7] [--steps 8]

ViT-nano-8, ViT-micro-8, ViT-mini-8: the default study's models, batch 128, captions of a median of 5.5 tokens of 10.
middle: 64 px, width 128, 4 + 2 layers, batch 250, amp_bf16, 5 to 11 tokens of 16. compiled: 32 px, width 64, 2 + 2
layers, batch 250, amp_bf16 with torch.compile, 5 to 11 tokens of 16. web: a text tower of ViT-B-32's width and four
layers beside a small image tower, batch 32, captions as web alt texts (median 16 of 77 tokens).

One process and one thread; both sides take the same steps in turn, and a ratio is the median over rounds.
"""

import argparse
import statistics
import time
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from training_common import REPOSITORY, model_config

from clip_scaling.records.files import read_json
from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.train import engine
from clip_scaling.train.distributed import Ranks
from clip_scaling.train.inputs import Batch

ALONE = Ranks(0, 1, 0, torch.device("cpu"))
WEB = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 64, "patch_size": 32, "width": 64, "layers": 1},
    "text_cfg": {"context_length": 77, "vocab_size": 4096, "width": 512, "heads": 8, "layers": 4},
}


@dataclass(frozen=True)
class Case:
    """A model and its captions. median, spread: of the tokens of a caption, log-normal."""

    model: dict[str, Any]
    batch: int = 128
    precision: str = "fp32"
    is_compiled: bool = False
    median: float = 5.5
    spread: float = 0.35


def cases() -> dict[str, Case]:
    """Every case by its name."""
    names = ("ViT-nano-8", "ViT-micro-8", "ViT-mini-8")
    models = {name: Case(read_json(REPOSITORY / f"config/models/{name}.json")) for name in names}
    middle, small = model_config(64, 8, 128, 4, 2, 4096), model_config(32, 8, 64, 2, 2, 4096)
    return models | {
        "middle": Case(middle, 250, "amp_bf16", median=8),
        "compiled": Case(small, 250, "amp_bf16", True, median=8),
        "web": Case(WEB, 32, median=16, spread=0.55),
    }


def some_batches(case: Case, count: int = 4) -> list[Batch]:
    """Noise for images, random words for captions."""
    random = np.random.default_rng(0)
    text, size = case.model["text_cfg"], case.model["vision_cfg"]["image_size"]
    context, end = text["context_length"], text["vocab_size"] - 1
    found = []
    for _ in range(count):
        lengths = np.exp(random.normal(np.log(case.median), case.spread, case.batch)).round().clip(3, context)
        tokens = random.integers(1, end, (case.batch, context))
        tokens[np.arange(context) >= lengths[:, None]] = 0
        tokens[np.arange(case.batch), lengths.astype(int) - 1] = end
        pixels = random.integers(0, 256, (case.batch, size, size, 3), dtype=np.uint8)
        found.append(Batch(torch.from_numpy(pixels), torch.from_numpy(tokens), np.arange(case.batch)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", choices=[[], *cases()], default=[])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=8, help="a round and side")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print("case          whole towers, ms CPU a step   short towers   ratio")
    for name, case in cases().items():
        if not args.cases or name in args.cases:
            spent = measure(case, args.rounds, args.steps)
            ratio = statistics.median(a / b for a, b in zip(*spent, strict=True))
            whole, short = (1e3 * statistics.median(side) for side in spent)
            print(f"{name:12s}  {whole:28.1f}   {short:12.1f}   {ratio:4.2f}x", flush=True)


def measure(case: Case, rounds: int, steps: int) -> tuple[list[float], list[float]]:
    """CPU seconds a step of each round: of whole towers, of short ones."""
    recipe = Recipe(global_batch_size=case.batch, precision=case.precision)
    settings = (case.model, recipe, TrainResources(gpus=0, compile=case.is_compiled), ALONE, 0)
    short = engine.Engine(*settings)
    with patch.object(engine, "take_packed", return_value=None), patch.object(engine, "take_class_token"):
        whole = engine.Engine(*settings)
    batches, spent = some_batches(case), ([], [])
    for number in range(rounds + 1):
        for side, seconds in zip((whole, short), spent, strict=True):
            begun = time.process_time()
            for step in range(steps):
                side.gradients(batches[step % len(batches)], step)
                side.move(1e-4)
            if number:  # the first round warms up
                seconds.append((time.process_time() - begun) / steps)
    return spent


if __name__ == "__main__":
    main()
