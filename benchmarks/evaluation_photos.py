"""A set of photos at 224 px as a whole process, decoded by workers and by the process itself, against the CLI.

python benchmarks/evaluation_photos.py [--images 5000] [--classes 100] [--workers 2] [--pairs 2]

JPEGs of 256 px, a small vision transformer at 224 px with random weights, fp32, batch 256, as many torch threads as
workers on both sides. Each pair runs all three after each other; the table has the best of the pairs, since the
machine may be shared. Accuracies of the three must be equal.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "gpu"))
from data import write_evaluation, write_tokenizer
from evaluation_speed import PEER, REPOSITORY, Spent, timed

from clip_scaling.models.build import build_model
from clip_scaling.models.checkpoint import save_checkpoint
from clip_scaling.records.files import read_json, sha256_file

MODEL: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 224, "patch_size": 32, "width": 192, "head_width": 48, "layers": 3},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
}


def write_model(root: Path) -> Path:
    """A checkpoint with random weights, and its model under the name `peer` in open_clip's format."""
    (root / "configs").mkdir()
    (root / "configs/peer.json").write_text(json.dumps(MODEL))
    merges = write_tokenizer(root / "merges.txt.gz")
    torch.manual_seed(0)
    about = {"cell": "photos", "state": "trained", "model_config": MODEL, "tokenizer_sha256": sha256_file(merges)}
    save_checkpoint(root / "checkpoint.pt", build_model(MODEL).state_dict(), about)
    return root / "checkpoint.pt"


def ours(root: Path, manifest: Path, threads: int, workers: int) -> tuple[Spent, float]:
    """One call of scripts/evaluate.py: what it took, and acc1."""
    output = root / f"ours-{workers}.json"
    command = [sys.executable, str(REPOSITORY / "scripts/evaluate.py"), "--checkpoint", str(root / "checkpoint.pt")]
    command += ["--sets", str(manifest), "--tokenizer", str(root / "merges.txt.gz"), "--output", str(output)]
    spent = timed([*command, "--threads", str(threads), "--workers", str(workers)])
    return spent, next(row["value"] for row in read_json(output)["metrics"] if row["metric"] == "acc1")


def peer(root: Path, manifest: Path, workers: int) -> tuple[Spent, float]:
    """One call of clip-benchmark's CLI: what it took, and acc1."""
    output = root / "peer.json"
    code = PEER.replace("import sys", f"import sys, torch; torch.set_num_threads({workers}); import sys") + "cli.main()"
    command = [sys.executable, "-c", code, str(root / "configs"), "eval", "--model", "peer", "--pretrained"]
    command += [str(root / "checkpoint.pt"), "--dataset", "wds/photos", "--dataset_root", read_json(manifest)["folder"]]
    command += ["--task", "zeroshot_classification", "--no_amp", "--num_workers", str(workers), "--batch_size", "256"]
    spent = timed([*command, "--output", str(output)])
    return spent, json.loads(output.read_text())["metrics"]["acc1"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pairs", type=int, default=2)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        manifest = write_evaluation(root, args.images, args.classes, 256, args.workers)
        write_model(root)
        best: dict[str, Spent] = {}
        for _ in range(args.pairs):
            found = {
                "clip-benchmark CLI": peer(root, manifest, args.workers),
                "this project, one process": ours(root, manifest, args.workers, 0),
                f"this project, {args.workers} workers": ours(root, manifest, args.workers, args.workers),
            }
            for name, (spent, acc1) in found.items():
                print(f"  {name:28s} {spent} acc1 {acc1:.6f}", flush=True)
                best[name] = min(best.get(name, spent), spent, key=lambda spent: spent.wall)
        theirs = best["clip-benchmark CLI"]
        for name, spent in best.items():
            ratio = f"{theirs.wall / spent.wall:.2f} wall, {theirs.cpu / spent.cpu:.2f} CPU"
            print(f"{name:28s} {spent} {ratio}, {args.images / spent.wall:.0f} images/s")


if __name__ == "__main__":
    main()
