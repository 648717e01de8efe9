"""Losses of this project's engine against those of open_clip_train's own step.

python benchmarks/training_parity.py [--steps 50] [--json FILE]

The same weights, batches and recipe in fp32 on the CPU, by one process and by two ranks (gloo, local loss, gathered
with gradients). open_clip_train's side is its `train_one_epoch` with its loss, its scheduler and AdamW as its `main`
makes it. The largest relative difference of a loss must stay below 1e-5.
"""

import argparse
import copy
import json
import os
import socket
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from open_clip import create_loss
from open_clip_train.scheduler import cosine_lr
from open_clip_train.train import train_one_epoch
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from training_common import model_config

from clip_scaling.models.build import build_model, normalise
from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.train.distributed import Ranks, join_ranks
from clip_scaling.train.engine import Engine
from clip_scaling.train.inputs import Batch
from clip_scaling.train.order import rank_positions
from clip_scaling.train.schedule import schedule_of

BATCH, VOCABULARY, LIMIT = 64, 1000, 1e-5
MODEL = model_config(32, 8, 64, 2, 2, VOCABULARY)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--json", type=Path, help="write the losses there")
    args = parser.parse_args()
    torch.set_num_threads(1)
    results, worst = {}, 0.0
    print("ranks  loss of step 1  loss of the last step  largest relative difference")
    for size in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            if size == 1:
                train_both(0, 1, 0, args.steps, folder)
            else:
                with socket.socket() as free:
                    free.bind(("127.0.0.1", 0))
                    port = free.getsockname()[1]
                torch.multiprocessing.spawn(train_both, (size, port, args.steps, folder), nprocs=size)
            losses = json.loads((Path(folder) / "losses.json").read_text())
        ours, theirs = losses["ours"], losses["open_clip_train"]
        difference = max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))
        worst = max(worst, difference)
        results[f"{size} ranks"] = losses | {"largest_relative_difference": difference}
        print(f"{size:5d}  {ours[0]:14.7f}  {ours[-1]:21.7f}  {difference:.2e}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")
    if worst >= LIMIT:
        sys.exit(f"a loss differs by {worst:.2e}, more than {LIMIT:g}")


def train_both(rank: int, size: int, port: int, steps: int, folder: str) -> None:
    """Both sides on one rank; the first rank writes both lists of its losses."""
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    variables = {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    ranks = join_ranks(0, variables)
    recipe = Recipe(global_batch_size=BATCH, learning_rate=1e-3, warmup_fraction=0.1)
    engine = Engine(MODEL, recipe, TrainResources(), ranks, seed=0)
    weights = copy.deepcopy(engine.model.base.state_dict())
    batches = [draw(step, rank, size) for step in range(steps)]
    schedule = schedule_of(recipe, steps)
    ours = []
    for step, batch in enumerate(batches):
        ours.append(engine.gradients(batch, step)[0])
        engine.move(schedule(step))
    theirs = by_open_clip_train(weights, batches, recipe, ranks)
    if rank == 0:
        text = json.dumps({"ours": ours, "open_clip_train": theirs})
        (Path(folder) / "losses.json").write_text(text)
    ranks.close()


def draw(step: int, rank: int, size: int) -> Batch:
    """A rank's share of a batch of coloured noise, whose captions begin with the colour."""
    generator = torch.Generator().manual_seed(step)
    colours = torch.randint(0, 256, (BATCH, 3), generator=generator)
    noise = torch.randint(-40, 40, (BATCH, 32, 32, 3), generator=generator)
    pixels = (colours[:, None, None] + noise).clamp(0, 255).to(torch.uint8)
    tokens = torch.randint(1, VOCABULARY - 2, (BATCH, 16), generator=generator)
    tokens[:, 0], tokens[:, 1:4] = VOCABULARY - 2, 1 + colours // 32
    tokens[:, 8], tokens[:, 9:] = VOCABULARY - 1, 0
    mine = rank_positions(0, BATCH, rank, size)
    return Batch(pixels[mine], tokens[mine], mine)


def by_open_clip_train(weights: dict[str, Any], batches: list[Batch], recipe: Recipe, ranks: Ranks) -> list[float]:
    """This rank's losses by open_clip_train's train_one_epoch."""
    model: nn.Module = build_model(MODEL)
    model.load_state_dict(weights)
    if ranks.size > 1:
        model = DistributedDataParallel(model)
    named = list(model.named_parameters())
    plain = [p for n, p in named if p.ndim < 2 or any(part in n for part in ("bn", "ln", "bias", "logit_scale"))]
    without = {id(p) for p in plain}
    rest = [p for _, p in named if id(p) not in without]
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": rest, "weight_decay": recipe.weight_decay}]
    betas = (recipe.beta1, recipe.beta2)
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=betas, eps=recipe.eps)
    scheduler = cosine_lr(optimizer, recipe.learning_rate, round(0.1 * len(batches)), len(batches))
    # Every rank is asked for its own losses: rank 0 is who logs.
    args = SimpleNamespace(
        device="cpu", precision="fp32", distill=False, skip_scheduler=False, accum_freq=1, horovod=False,
        grad_clip_norm=recipe.gradient_clip, rank=0, local_rank=0, world_size=ranks.size, log_every_n_steps=1,
        batch_size=BATCH // ranks.size, wandb=False, local_loss=True, gather_with_grad=True, siglip=False, model="ViT",
        log_local=False,
    )  # fmt: skip
    loss = create_loss(SimpleNamespace(**{**vars(args), "rank": ranks.rank}))
    pairs = [(normalise(batch.pixels), batch.tokens) for batch in batches]
    writer = Losses()
    data = {"train": Epoch(pairs)}
    train_one_epoch(model, data, loss, 0, optimizer, None, scheduler, None, args, tb_writer=writer)
    return writer.losses


class Epoch:
    """Batches in the form of open_clip_train's DataInfo and of its loader."""

    def __init__(self, pairs: list[Any]) -> None:
        self.pairs, self.dataloader = pairs, self
        self.num_batches, self.num_samples = len(pairs), len(pairs) * BATCH

    def set_epoch(self, epoch: int) -> None:
        """The batches are the same in each."""

    def __iter__(self) -> Any:
        return iter(self.pairs)


class Losses:
    """Takes what open_clip_train writes to TensorBoard."""

    def __init__(self) -> None:
        self.losses: list[float] = []

    def add_scalar(self, name: str, value: float, step: int) -> None:
        """Keep the loss."""
        if name == "train/loss":
            self.losses.append(value)


if __name__ == "__main__":
    main()
