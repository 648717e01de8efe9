"""Two steps of a model of the paper's size on this machine's CPU, at 224 px, with gradient checkpointing.

    python benchmarks/training_large_models.py ViT-H-14 --threads 2

Prints parameters, losses, seconds a step and peak memory. ViT-H-14 needs about 17 GB.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.study.resolve import model_config
from clip_scaling.train.distributed import Ranks
from clip_scaling.train.engine import Engine
from clip_scaling.train.inputs import Batch
from clip_scaling.train.monitor import memory_mb


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", help="open_clip model names")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    recipe = Recipe(global_batch_size=2, learning_rate=1e-5, warmup_fraction=0.0)
    generator = np.random.default_rng(0)
    for name in args.models:
        config = model_config(name, Path(__file__).resolve().parent.parent)
        resources = TrainResources(gradient_checkpointing=True, threads=args.threads)
        engine = Engine(config, recipe, resources, Ranks(0, 1, 0, torch.device("cpu")), seed=0)
        size = config["vision_cfg"]["image_size"]
        pixels = torch.from_numpy(generator.integers(0, 256, (2, size, size, 3), dtype=np.uint8))
        tokens = torch.from_numpy(generator.integers(1, 49408, (2, 77)))
        for step in range(2):
            begun = time.perf_counter()
            loss, norm = engine.gradients(Batch(pixels, tokens, np.arange(2)), step)
            engine.move(recipe.learning_rate)
            seconds = time.perf_counter() - begun
            print(
                f"{name}: {engine.parameters / 1e6:.2f} M parameters, step {step + 1}: loss {loss:.4f}, gradient norm "
                f"{norm:.3f}, {seconds:.1f} s, peak {memory_mb() / 1e3:.1f} GB",
                flush=True,
            )
        del engine


if __name__ == "__main__":
    main()
