"""A suite on one process a checkpoint, against clip-benchmark's CLI called once per set and task.

python benchmarks/evaluation_speed.py [--checkpoints 12] [--images 1000]

Sets without network, of the laptop suite's kind: compositions of colour and shape (accuracy), scenes with captions
(retrieval), colours in a scene (several labels: mAP), scikit-learn's digits (accuracy, probes on 10 examples a class
and on all). Random weights, fp32, batch 256, one thread on both sides.

1. Parity: the largest difference of any zero-shot metric from the CLI's on the same files.
2. Time of a suite on one checkpoint, and on several: the CLI's calls are timed on one checkpoint and multiplied.
   The CLI's linear probe refuses to run without CUDA: here its assertion and its `.cuda()` are made void. It trains
   one probe where ours sweeps nine settings and trains the chosen one again.
3. Adding digits to a finished suite, against measuring digits alone.
4. Peak memory with one set, and with four times as many sets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clip_scaling.data.evaluation_sets.held_out import write_evaluation_set
from clip_scaling.data.evaluation_sets.labelled import write_digits
from clip_scaling.data.evaluation_sets.webdataset import index_evaluation_set
from clip_scaling.data.shards.write import write_tar
from clip_scaling.data.sources.procedural import scenes as procedural
from clip_scaling.data.sources.procedural.config import ProceduralSource
from clip_scaling.data.sources.write import write_source
from clip_scaling.models.build import build_model
from clip_scaling.models.checkpoint import save_checkpoint
from clip_scaling.records.files import read_json, sha256_file

REPOSITORY = Path(__file__).resolve().parent.parent
COLOURS = ["red", "green", "blue", "yellow", "orange", "purple", "black", "white"]
PROBES = {"digits": [10, "full"]}
TASKS = {
    "scenes-colour-shape": "zeroshot_classification",
    "scenes-captions": "zeroshot_retrieval",
    "colours": "zeroshot_classification",
    "digits": "zeroshot_classification",
}
PEER = "import sys, open_clip; open_clip.add_model_config(sys.argv.pop(1)); import clip_benchmark.cli as cli; "
ON_CPU = """
import inspect, torch
torch.nn.Module.cuda = lambda self, *a: self
torch.Tensor.cuda = lambda self, *a, **k: self
source = inspect.getsource(cli.linear_probe).replace("assert device == 'cuda'", "pass")
exec(compile(source, cli.linear_probe.__file__, "exec"), vars(cli.linear_probe))
"""


@dataclass(frozen=True)
class Spent:
    """Of one process and its children: wall and CPU seconds, peak resident MB of the largest of them."""

    wall: float
    cpu: float
    peak_mb: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall + other.wall, self.cpu + other.cpu, max(self.peak_mb, other.peak_mb))

    def times(self, factor: int) -> Spent:
        """The same, several times."""
        return Spent(self.wall * factor, self.cpu * factor, self.peak_mb)

    def __str__(self) -> str:
        return f"{self.wall:7.1f} s wall {self.cpu:7.1f} s CPU {self.peak_mb:6.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", type=int, default=12)
    parser.add_argument("--images", type=int, default=1000, help="of each set of scenes")
    parser.add_argument("--skip-probes", action="store_true", help="zero-shot tasks alone")
    args = parser.parse_args()
    probes = {} if args.skip_probes else PROBES
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        sets = write_sets(root, args.images)
        checkpoints = write_checkpoints(root, args.checkpoints)
        peer, theirs = run_peer(root, checkpoints[0], sets, probes)
        ours = run_ours(root, "one", checkpoints[:1], sets, probes)
        print(f"parity: {parity(theirs, read_json(root / 'one' / '0.json')):.1e} largest difference of a metric")
        print(f"one checkpoint, {len(sets)} sets, {len(sets) + sum(map(len, probes.values()))} set-tasks")
        compare(ours, peer)
        many = run_ours(root, "many", checkpoints, sets, probes)
        print(f"{len(checkpoints)} checkpoints in one process (the CLI: {len(checkpoints)} times the above)")
        compare(many, peer.times(len(checkpoints)))
        names = list(sets)
        first = {name: sets[name] for name in names if name != "digits"}
        finished = run_ours(root, "grow", checkpoints[:1], first, {}, store=True)
        added = run_ours(root, "grow", checkpoints[:1], sets, probes, store=True)
        alone = run_ours(root, "alone", checkpoints[:1], {"digits": sets["digits"]}, probes, store=True)
        again = run_ours(root, "grow", checkpoints[:1], sets, probes, store=True)
        print(f"suite without digits  {finished}\n+ digits              {added}\ndigits alone          {alone}")
        print(f"asked again           {again}")
        single = run_ours(root, "single", checkpoints[:1], {"scenes-captions": sets["scenes-captions"]}, {})
        copies = [path for path in sets.values() for _ in range(4)]
        several = run_ours(root, "several", checkpoints[:1], dict(enumerate(copies)), {})
        print(f"peak memory: one set {single.peak_mb:.0f} MB, {len(copies)} sets {several.peak_mb:.0f} MB")


def compare(ours: Spent, peer: Spent) -> None:
    """Print both and their ratios."""
    print(f"  clip-benchmark CLI  {peer}\n  this project        {ours}")
    print(f"  ratio {peer.wall / ours.wall:.1f} wall, {peer.cpu / ours.cpu:.1f} CPU")


def write_sets(root: Path, images: int) -> dict[str, Path]:
    """Manifests of the four sets, by name, each in clip-benchmark's layout."""
    held_out: dict[str, Any] = {
        "colour-shape": {"kind": "zeroshot_classification", "sets": ["colour-shape"], "classes": 8},
        "captions": {"kind": "zeroshot_retrieval", "pairs": images},
    }
    recipe = ProceduralSource(kind="procedural", pairs=1000, vocabulary_size=600, held_out=held_out)
    write_source(root / "scenes", "scenes", recipe, procedural.build(recipe))
    for name in held_out:
        write_evaluation_set(root / f"scenes-{name}", f"scenes-{name}", root / "scenes/manifest.json", name)
    write_digits(root / "digits", "digits")
    folder = root / "wds_colours"
    write_tar(folder / "test/0.tar", colour_labels(root / "scenes-captions/test/0.tar"))
    texts = {"test/nshards.txt": "1", "dataset_type.txt": "multilabel", "classnames.txt": "\n".join(COLOURS)}
    for name, text in (texts | {"zeroshot_classification_templates.txt": "a {c} thing\n{c}"}).items():
        (folder / name).write_text(text)
    index_evaluation_set(root / "colours", "colours", folder)
    return {name: root / name / "manifest.json" for name in TASKS}


def colour_labels(captioned: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The images of a captioned tar with a 0 or 1 for each colour that its caption names."""
    import io

    with tarfile.open(captioned) as tar:
        content = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    for name in sorted(name for name in content if name.endswith(".txt")):
        words = content[name].decode().split()
        buffer = io.BytesIO()
        np.save(buffer, np.array([int(colour in words) for colour in COLOURS]))
        yield Path(name).stem, {"png": content[name[:-3] + "png"], "npy": buffer.getvalue()}


def write_checkpoints(root: Path, count: int) -> list[Path]:
    """Checkpoints with random weights, and their model under the name `peer` in open_clip's format."""
    merges = root / "scenes/tokenizer/merges.txt.gz"
    config: dict[str, Any] = {
        "embed_dim": 96,
        "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 80, "head_width": 40, "layers": 2},
        "text_cfg": {"context_length": 16, "vocab_size": 600, "width": 80, "heads": 2, "layers": 1},
    }
    peer = config | {"text_cfg": config["text_cfg"] | {"tokenizer_kwargs": {"bpe_path": str(merges)}}}
    (root / "configs").mkdir()
    (root / "configs/peer.json").write_text(json.dumps(peer))
    paths = [root / f"checkpoint-{seed}.pt" for seed in range(count)]
    for seed, path in enumerate(paths):
        torch.manual_seed(seed)
        about = {"cell": path.stem, "state": "trained", "model_config": config}
        save_checkpoint(path, build_model(config).state_dict(), about | {"tokenizer_sha256": sha256_file(merges)})
    return paths


def run_ours(
    root: Path, name: str, checkpoints: list[Path], sets: dict[Any, Path], probes: dict[str, Any], store: bool = False
) -> Spent:
    """One call of scripts/evaluate.py."""
    outputs = [root / name / f"{number}.json" for number in range(len(checkpoints))]
    command = [sys.executable, str(REPOSITORY / "scripts/evaluate.py"), "--checkpoint", *map(str, checkpoints)]
    command += ["--sets", *map(str, sets.values()), "--tokenizer", str(root / "scenes/tokenizer/merges.txt.gz")]
    command += ["--suite", json.dumps({"probes": probes}), "--threads", "1", "--output", *map(str, outputs)]
    return timed(command + (["--store", str(root / name / "store")] if store else []))


def run_peer(
    root: Path, checkpoint: Path, sets: dict[str, Path], probes: dict[str, Any]
) -> tuple[Spent, dict[str, dict[str, float]]]:
    """One call of the CLI per set and task; its metrics by set."""
    total, found = Spent(0, 0, 0), {}
    tasks = [(name, TASKS[name], -1) for name in sets]
    tasks += [(name, "linear_probe", -1 if k == "full" else k) for name, shots in probes.items() for k in shots]
    for name, task, shots in tasks:
        folder = read_json(sets[name]).get("folder", sets[name].parent)
        output = root / f"peer-{name}-{task}-{shots}.json"
        code = PEER + (ON_CPU if task == "linear_probe" else "") + "\ncli.main()"
        command = [sys.executable, "-c", code, str(root / "configs"), "eval", "--model", "peer", "--pretrained"]
        command += [str(checkpoint), "--dataset", f"wds/{name}", "--dataset_root", str(folder), "--task", task]
        command += ["--no_amp", "--num_workers", "0", "--batch_size", "256", "--recall_k", "1", "5", "10"]
        command += ["--output", str(output), "--feature_root", str(root / f"features-{shots}")]
        spent = timed(command + (["--fewshot_k", str(shots)] if task == "linear_probe" else []))
        total += spent
        metrics = json.loads(output.read_text())["metrics"]
        print(f"  CLI {name} {task} {spent}", flush=True)
        if task != "linear_probe":
            found[name] = metrics
    return total, found


def parity(theirs: dict[str, dict[str, float]], ours: dict[str, Any]) -> float:
    """The largest difference of a metric that both measured, and every one of theirs must be among ours."""
    mine = {(row["dataset"], row["metric"]): row["value"] for row in ours["metrics"]}
    return max(
        abs(value - mine[name, metric])
        for name, metrics in theirs.items()
        for metric, value in metrics.items()
        if value == value  # acc5 of few classes is not a number
    )


def timed(command: list[str]) -> Spent:
    """Run a command to its end. RuntimeError with its last lines where it fails."""
    begun = time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - begun
        if process.returncode:
            output.seek(0)
            raise RuntimeError(f"ended with {process.returncode}: {' '.join(command)}\n{output.read()[-3000:]}")
    return Spent(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


if __name__ == "__main__":
    main()
