"""What the training benchmarks share: synthetic pairs, models, the call of one run."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clip_scaling.data.shards.packed import pack
from clip_scaling.data.shards.write import write_shards
from clip_scaling.data.sources.iconify.raster import encode
from clip_scaling.models.tokenizer import load_tokenizer, train_merges, vocabulary_size, write_merges
from clip_scaling.records.data import PackedManifest, SubsetCounts, SubsetManifest
from clip_scaling.records.files import FileEntry, ShardEntry
from clip_scaling.study.config.training import RECIPE_VERSION, Recipe
from clip_scaling.study.grid import Cell

REPOSITORY = Path(__file__).resolve().parent.parent
WORDS = (
    "red green blue dark light round flat small large old new open closed arrow home star user file folder cloud "
    "sun moon tree river boat house car train plane bird fish cat dog horse apple bread cup lamp chair table door "
    "window clock phone camera music note book pen key lock heart hand eye face smile rain snow fire stone wave"
).split()


def model_config(
    size: int, patch: int, width: int, layers: int, text_layers: int, vocabulary: int, context: int = 16
) -> dict[str, Any]:
    """A small open_clip model: `width` in both towers, heads of 32, `layers` for images and `text_layers` for text."""
    return {
        "embed_dim": width,
        "vision_cfg": {"image_size": size, "patch_size": patch, "width": width, "head_width": 32, "layers": layers},
        "text_cfg": {
            "context_length": context,
            "vocab_size": vocabulary,
            "width": width,
            "heads": width // 32,
            "layers": text_layers,
        },
    }


@dataclass(frozen=True)
class Data:
    """Synthetic pairs on disk: manifests of the tars and of the packed form, the tokenizer and its rows."""

    subset: Path
    packed: Path
    merges: Path
    vocabulary: int


def write_data(root: Path, pairs: int, size: int, context: int = 16, shards: int = 8) -> Data:
    """`pairs` images of coloured blocks with captions of three to nine words, as tars and packed."""
    random = np.random.default_rng(0)
    lengths = random.integers(3, 10, pairs)
    captions = [" ".join(random.choice(WORDS, length)) for length in lengths]
    blocks = random.integers(0, 256, (pairs, 4, 4, 3), dtype=np.uint8)
    scale = np.ones((size // 4, size // 4, 1), dtype=np.uint8)
    samples = (
        (f"blocks/{number}", {"png": encode(np.kron(blocks[number], scale)).png, "txt": captions[number].encode()})
        for number in range(pairs)
    )
    write_manifest(root / "tars", write_shards(root / "tars", samples, pairs, -(-pairs // shards)))
    merges = root / "merges.txt.gz"
    write_merges(merges, train_merges(captions, 1024))
    pack(root / "packed", root / "tars/manifest.json", merges, size, context)
    return Data(root / "tars/manifest.json", root / "packed/manifest.json", merges, vocabulary_size(merges))


def write_manifest(root: Path, shards: list[ShardEntry]) -> Path:
    """The manifest of shards of synthetic pairs, with their index beside them."""
    pairs = sum(entry.pairs for entry in shards)
    SubsetManifest(
        name="blocks", source="none", source_order_digest="0", order_digest="0", pairs=pairs, shards=shards,
        counts=SubsetCounts(source=pairs, kept=pairs, left_in_source=0), files=[FileEntry.of(root / "index.npy", root)],
    ).write(root / "manifest.json")  # fmt: skip
    return root / "manifest.json"


def write_arrays(root: Path, pairs: int, size: int, context: int = 16) -> Path:
    """A packed data set of noise, written as arrays: hundreds of thousands of pairs in seconds."""
    root.mkdir(parents=True)
    random = np.random.default_rng(0)
    shape = (pairs, size, size, 3)
    with open(root / "pixels.npy", "wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|u1", "fortran_order": False, "shape": shape})
        for start in range(0, pairs, 10_000):
            file.write(random.bytes(min(10_000, pairs - start) * size * size * 3))
    np.save(root / "tokens.npy", random.integers(1, 500, (pairs, context), dtype=np.int32))
    PackedManifest(
        data="noise", pairs=pairs, shard_pairs=[pairs], image_size=size, context_length=context, vocabulary_size=500,
        truncated_captions=0, tokenizer_sha256="0", order_digest="0",
        files=[FileEntry(name, (root / name).stat().st_size, "0") for name in ("pixels.npy", "tokens.npy")],
    ).write(root / "manifest.json")  # fmt: skip
    return root / "manifest.json"


def train_command(
    folder: Path,
    data: Path,
    merges: Path,
    config: dict[str, Any],
    recipe: dict[str, Any],
    samples: int,
    resources: dict[str, Any] | None = None,
    seed: int = 0,
) -> list[str]:
    """The call of scripts/train.py for one cell with its files under `folder`."""
    fields = Recipe.model_validate(recipe).model_dump()
    about = {"recipe": fields, "model_config": config, "recipe_version": RECIPE_VERSION}
    name = Cell("bench", "blocks", samples, seed).name
    return [
        sys.executable, str(REPOSITORY / "scripts/train.py"), "cell", "--cell", name, "--data", str(data),
        "--tokenizer", str(merges), "--recipe", json.dumps(about), "--resources",
        json.dumps({"train": resources or {}}), "--resume", str(folder / "resume"),
        "--output", *(str(folder / file) for file in ("checkpoint.pt", "train.json", "curve.jsonl")),
    ]  # fmt: skip


@dataclass(frozen=True)
class Spent:
    """Of one process with its children: wall seconds, CPU seconds."""

    wall: float
    cpu: float


def timed(command: list[str], threads: int = 1, **variables: str) -> Spent:
    """Run a command to its end. RuntimeError with its last lines where it fails."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)} | variables
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command[:3])} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return Spent(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def tokenizer_of(data: Data, context: int = 16) -> Any:
    """open_clip's tokenizer over the data's merges."""
    return load_tokenizer(data.merges, context)
