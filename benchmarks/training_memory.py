"""Memory of a rank against the number of pairs and against the number of steps.

python benchmarks/training_memory.py [--pairs 10000 300000] [--json FILE]

A small model is trained from packed and from streamed pairs. MB: the process's own memory (private, not the page cache
that a memory map shows as resident), after 20 steps and after 300, in a fork of one process after its imports.
"""

import argparse
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_common import WORDS, model_config, write_arrays, write_manifest

from clip_scaling.data.shards.packed import open_packed
from clip_scaling.data.shards.read import PairReader
from clip_scaling.data.shards.write import INDEX_DTYPE, write_array, write_tar
from clip_scaling.data.sources.iconify.raster import encode
from clip_scaling.models.tokenizer import train_merges, write_merges
from clip_scaling.records.files import FileEntry
from clip_scaling.study.config.resources import TrainResources
from clip_scaling.study.config.training import Recipe
from clip_scaling.train.distributed import join_ranks
from clip_scaling.train.engine import Engine
from clip_scaling.train.inputs import Input, PackedInput
from clip_scaling.train.order import Order, rank_positions
from clip_scaling.train.stream import Form, StreamInput

BATCH, STEPS, SHARD = 100, (20, 300), 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, nargs="+", default=[10_000, 300_000])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    print("input            pairs    data, MB  " + "  ".join(f"MB after {step} steps" for step in STEPS))
    for kind in ("packed", "stream"):
        for pairs in args.pairs:
            with tempfile.TemporaryDirectory() as folder:
                root = Path(folder)
                write = write_arrays if kind == "packed" else write_tars
                in_a_fork(lambda write=write, root=root, pairs=pairs: write(root / "data", pairs, 32) and None)
                size = sum(path.stat().st_size for path in (root / "data").rglob("*")) / 1e6
                found = in_a_fork(lambda kind=kind, root=root, pairs=pairs: measure(kind, root / "data", pairs))
            rows.append(
                {"input": kind, "pairs": pairs, "data_mb": size} | dict(zip(("early", "late"), found, strict=True))
            )
            print(
                f"{kind:10s} {pairs:11d}  {size:10.0f}  " + "  ".join(f"{value:17.0f}" for value in found), flush=True
            )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(kind: str, root: Path, pairs: int) -> list[float]:
    """Private memory of this process after each number of steps, MB."""
    order = Order([pairs] if kind == "packed" else [SHARD] * (pairs // SHARD), seed=0, readers=None)
    data: Input
    if kind == "packed":
        data = PackedInput(open_packed(root / "manifest.json"), order)
    else:
        merges, manifest = root / "merges.txt.gz", root / "manifest.json"
        reader = PairReader.open(manifest)
        data = StreamInput(reader, merges, order, Form(32, 16), workers=0, ranks=1, batch_size=BATCH)
    ranks = join_ranks(0, {})
    engine = Engine(model_config(32, 8, 64, 2, 2, 1024), Recipe(global_batch_size=BATCH), TrainResources(), ranks, 0)
    found = []
    for step in range(STEPS[-1]):
        engine.gradients(data.batch(rank_positions(step, BATCH, 0, 1)), step)
        engine.move(1e-4)
        if step + 1 in STEPS:
            found.append(private_mb())
    data.close()
    return found


def private_mb() -> float:
    """Memory that is this process's alone, MB: resident without file-backed and shared pages (Linux)."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(fields["RssAnon"].split()[0]) / 1e3


def write_tars(root: Path, pairs: int, size: int) -> Path:
    """A subset of tars of SHARD pairs: one tar's images, linked under as many names as are needed."""
    random = np.random.default_rng(0)
    captions = [" ".join(random.choice(WORDS, 5)) for _ in range(SHARD)]
    images = [encode(random.integers(0, 256, (size, size, 3), dtype=np.uint8)).png for _ in range(SHARD)]
    first = root / "shards/00000.tar"
    samples = ((f"{n:06d}", {"png": images[n], "txt": captions[n].encode()}) for n in range(SHARD))
    spans = write_tar(first, samples)
    index = np.empty(pairs, INDEX_DTYPE)
    shards = []
    for number in range(pairs // SHARD):
        name = f"shards/{number:05d}.tar"
        if number:
            shutil.copyfile(first, root / name)
        rows = slice(number * SHARD, (number + 1) * SHARD)
        index["shard"][rows] = number
        index["offset"][rows], index["size"][rows] = np.array(spans).T
        shards.append(FileEntry.of(root / name, root).with_pairs(SHARD))
    write_array(root / "index.npy", index)
    write_merges(root / "merges.txt.gz", train_merges(captions, 1024))
    return write_manifest(root, shards)


def in_a_fork(call: Any) -> Any:
    """What a call returns, from a process of its own. RuntimeError where it fails."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, json.dumps(call()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    with open(reader, "rb") as pipe:
        text = pipe.read()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise RuntimeError("the measured process failed; its message is above")
    return json.loads(text)


if __name__ == "__main__":
    main()
