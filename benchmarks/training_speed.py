"""Training speed of whole processes against open_clip_train, and against a bare loop.

python benchmarks/training_speed.py [--cases small stream middle vit] [--pairs-of-runs 2] [--json FILE]

small: 32 px, width 64, 2 + 2 layers. middle: 64 px, width 128, 4 + 2 layers. vit: ViT-B-32 at 224 px. Each trains one
cell from packed pairs with scripts/train.py, and the same model, token table, batch and samples with open_clip_train
from the tars (make env-peers), each side at its best setting of those tried (SETTINGS). stream: the small model, both
from the tars with one worker, in fp32. The bare loop holds normalised pixels and tokens in memory: open_clip's model
and loss, fused AdamW, the same precision and compilation as ours, no clipping, no log, no data.

Samples a second of CPU time (all threads and workers of a side, start-up included) are what a core gives; runs
alternate, and a ratio is the median over pairs of runs; the bare loop runs once. torch.compile's cache on disk is
filled by a short run before.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from training_common import REPOSITORY, Data, Spent, model_config, timed, train_command, write_data

from clip_scaling.records.files import read_json, write_json
from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.train.peer import PYTHON, PeerRun

ROWS = 4096
"""Of the token table, both sides; the captions use fewer."""


@dataclass(frozen=True)
class Case:
    """A model and its run. ours, peer: settings of each side: {recipe and resource fields, `threads`}."""

    model: dict[str, Any]
    batch: int
    samples: int
    pairs: int
    goal: float
    ours: dict[str, Any]
    peer: dict[str, Any]
    has_bare: bool = False

    @property
    def size(self) -> int:
        """Side of an image, pixels."""
        return int(self.model["vision_cfg"]["image_size"])


VIT = {
    "embed_dim": 512,
    "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 768, "layers": 12},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 512, "heads": 8, "layers": 12},
}
SETTINGS = {
    "small": Case(
        model_config(32, 8, 64, 2, 2, ROWS), 250, 100_000, 20_000, 3.0,
        {"precision": "amp_bf16", "compile": True}, {"precision": "fp32", "workers": 2}, has_bare=True,
    ),
    "stream": Case(
        model_config(32, 8, 64, 2, 2, ROWS), 250, 20_000, 10_000, 1.3,
        {"precision": "fp32", "input": "stream", "workers": 1}, {"precision": "fp32", "workers": 1},
    ),
    "middle": Case(
        model_config(64, 8, 128, 4, 2, ROWS), 250, 12_000, 8_000, 2.0,
        {"precision": "amp_bf16"}, {"precision": "fp32", "workers": 1},
    ),
    "vit": Case(VIT, 16, 64, 64, 1.0, {"precision": "amp_bf16"}, {"precision": "amp_bf16", "workers": 1}),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--pairs-of-runs", type=int, default=2)
    parser.add_argument("--ours", type=json.loads, default={}, help="JSON: other settings of our side")
    parser.add_argument("--peer", type=json.loads, default={}, help="JSON: other settings of open_clip_train")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--bare", choices=SETTINGS, help=argparse.SUPPRESS)
    parser.add_argument("--packed", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.bare:
        bare_loop(SETTINGS[args.bare], args.packed)
        return
    python = os.environ.get(PYTHON, str(REPOSITORY / ".venv-peers/bin/python"))
    results = {}
    print(
        "case    ours/peer/bare, samples per CPU second (per second of wall)     of open_clip_train   of the bare loop"
    )
    for name in args.cases:
        case = SETTINGS[name]
        with tempfile.TemporaryDirectory() as folder:
            results[name] = measure(name, case, Path(folder), python, args)
        show(name, case, results[name])
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n")


def measure(name: str, case: Case, root: Path, python: str, args: argparse.Namespace) -> dict[str, list[list[float]]]:
    """{side: [[samples per CPU second, per second of wall] of each run]}, the sides in turn."""
    context = case.model["text_cfg"]["context_length"]
    data = write_data(root / "data", case.pairs, case.size, context)
    sides: dict[str, Callable[[], Spent]] = {
        "ours": lambda: our_run(root, case, data, case.ours | args.ours),
        "peer": lambda: peer_run(root, case, data, case.peer | args.peer, python),
    }
    if case.has_bare:
        bare = [sys.executable, __file__, "--bare", name, "--packed", str(data.packed)]
        sides["bare"] = lambda: timed(bare)
    found: dict[str, list[list[float]]] = {side: [] for side in sides}
    setting = case.ours | args.ours
    if setting.get("compile"):  # a study's first cell fills the cache of compiled kernels for all others
        our_run(root, replace(case, samples=2 * case.batch), data, setting)
    for number in range(args.pairs_of_runs):
        for side, run in sides.items():
            if side == "bare" and number:
                continue
            spent = run()
            found[side].append([case.samples / spent.cpu, case.samples / spent.wall])
            print(f"  {name} {side}: {found[side][-1][0]:.4g} /CPU s, {found[side][-1][1]:.4g} /s", file=sys.stderr)
    return found


def our_run(root: Path, case: Case, data: Data, setting: dict[str, Any]) -> Spent:
    """scripts/train.py on packed or streamed pairs."""
    folder = root / "ours"
    shutil.rmtree(folder, ignore_errors=True)
    recipe = {"global_batch_size": case.batch, "precision": setting["precision"], "warmup_fraction": 0.1}
    resources = {key: value for key, value in setting.items() if key != "precision"}
    source = data.subset if setting.get("input") == "stream" else data.packed
    threads = setting.get("threads", 1)
    spent = timed(train_command(folder, source, data.merges, case.model, recipe, case.samples, resources), threads)
    assert read_json(folder / "train.json")["samples_seen"] == case.samples, "both sides see the same number of samples"
    return spent


def peer_run(root: Path, case: Case, data: Data, setting: dict[str, Any], python: str) -> Spent:
    """open_clip_train on the same pairs in tars, with the same model, token table, batch and budget."""
    folder = root / "peer"
    shutil.rmtree(folder, ignore_errors=True)
    text = case.model["text_cfg"] | {"tokenizer_kwargs": {"bpe_path": str(data.merges)}}
    write_json(folder / "model/open_clip_config.json", {"model_cfg": case.model | {"text_cfg": text}})
    shards = [str(data.subset.parent / entry["path"]) for entry in read_json(data.subset)["shards"]]
    run = PeerRun(
        Recipe(global_batch_size=case.batch, precision=setting["precision"], warmup_fraction=0.1),
        TrainResources(compile=setting.get("compile", False)), shards, folder,
        steps=case.samples // case.batch, workers=setting["workers"], seed=0, ranks=1, device="cpu",
    )  # fmt: skip
    return timed([python, "-m", "open_clip_train.main", *run.arguments()], setting.get("threads", 1))


def bare_loop(case: Case, packed: Path) -> None:
    """Steps on batches that are ready in memory."""
    import torch
    from open_clip.loss import ClipLoss

    from clip_scaling.data.shards.packed import open_packed
    from clip_scaling.models.build import build_model, normalise
    from clip_scaling.models.precision import Precision

    torch.set_num_threads(1)
    torch.manual_seed(0)
    pairs = open_packed(packed)
    rows = slice(0, 8 * case.batch)
    images = normalise(torch.from_numpy(pairs.pixels[rows].copy())).split(case.batch)
    texts = torch.from_numpy(pairs.tokens[rows].astype("int64")).split(case.batch)
    model: torch.nn.Module = build_model(case.model).train()
    if case.ours.get("compile"):
        model = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    precision, loss = Precision(case.ours["precision"], torch.device("cpu")), ClipLoss()
    for step in range(case.samples // case.batch):
        optimizer.zero_grad(set_to_none=True)
        with precision.forward():
            out = model(images[step % 8], texts[step % 8])
        loss(out["image_features"].float(), out["text_features"].float(), out["logit_scale"]).backward()
        optimizer.step()


def show(name: str, case: Case, found: dict[str, list[list[float]]]) -> None:
    """One line a case: medians of runs, and of ratios within each round of runs."""
    cpu = {side: [run[0] for run in runs] for side, runs in found.items()}
    middles = " / ".join(
        f"{statistics.median(cpu[side]):.4g} ({statistics.median(run[1] for run in runs):.4g})"
        for side, runs in found.items()
    )

    def ratio(other: str) -> float:
        return statistics.median(a / b for a, b in zip(cpu["ours"], cpu[other], strict=False))

    bare = f"{ratio('bare'):.0%}" if "bare" in found else "-"
    print(f"{name:7s} {middles:58s} {ratio('peer'):8.2f}x (goal {case.goal:g}x)   {bare}", flush=True)


if __name__ == "__main__":
    main()
