"""All measurements of the GPU issue on one machine, with a table of what was reached against what was aimed at.

python benchmarks/gpu/run.py --output FOLDER [--stages train stream exact evaluate study tests] [--seconds 360]
    [--rehearse]

Each measurement is a process with a time limit; none starts after --seconds. FOLDER/results.jsonl gets one line a
measurement as it ends, so a run that is cut off loses nothing, and a second call goes on with what is missing.
--rehearse: tiny models and data, also on a CPU: it shows that every stage runs. open_clip_train is looked for in
.venv-peers (`make env-peers`), else in $CLIP_SCALING_PEER_PYTHON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from table import print_table

HERE = Path(__file__).resolve().parent
STAGES = ("train", "stream", "exact", "evaluate", "study", "tests")


@dataclass(frozen=True)
class Measurement:
    """One process. name: of its row; kind: a function of measure.py; limit: seconds."""

    stage: str
    name: str
    kind: str
    limit: int
    given: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Sizes:
    """Of data and models. workers: processes that decode."""

    base: str = "ViT-B-32"
    middle: str = "ViT-B-16"
    large: str = "ViT-L-14"
    batch: int = 1024
    pairs: int = 4096
    streamed: int = 30_720
    shards: int = 30
    side: int = 224
    photo_side: int = 256
    images: int = 5_010
    many_images: int = 50_000
    classes: int = 1000
    steps: int = 40
    accumulated: int = 131_072
    probe_examples: int = 100_000
    workers: int = max(1, (os.cpu_count() or 1) - 1)


REHEARSAL = Sizes("tiny", "tiny", "tiny", 16, 64, 128, 4, 64, 72, 40, 60, 10, 12, 64, 500, 2)


def prepare(root: Path, sizes: Sizes) -> dict[str, Any]:
    """Write what is not there yet; returns the places."""
    from data import write_evaluation, write_packed, write_stream, write_tokenizer

    places = {"packed": root / "packed/manifest.json", "small": root / "small/manifest.json",
              "stream": root / "tars/manifest.json", "set": root / "photos/manifest.json",
              "many": root / "many/photos/manifest.json", "tokenizer": root / "merges.txt.gz"}  # fmt: skip
    processes = os.cpu_count() or 1
    if not places["tokenizer"].is_file():
        write_tokenizer(places["tokenizer"])
    if not places["packed"].is_file():
        write_packed(root / "packed", sizes.pairs, sizes.side)
    if not places["small"].is_file():
        write_packed(root / "small", sizes.pairs, 32)
    if not places["stream"].is_file():
        write_stream(root / "tars", sizes.streamed, sizes.shards, sizes.photo_side, processes)
    if not places["set"].is_file():
        write_evaluation(root, sizes.images, sizes.classes, sizes.photo_side, processes)
    if not places["many"].is_file():
        write_evaluation(root / "many", sizes.many_images, sizes.classes, sizes.photo_side, processes)
    return {name: str(path) for name, path in places.items()}


class Study:
    """The measurements on prepared data, by stage."""

    def __init__(self, root: Path, sizes: Sizes, places: dict[str, str], has_gpu: bool) -> None:
        self.root, self.sizes, self.places = root, sizes, places
        self.device = "cuda" if has_gpu else "cpu"
        self.tokenizer = {"tokenizer": places["tokenizer"]}
        self.base = {"model": sizes.base, "batch": sizes.batch}
        self.fixed = {"warm": 5, "steps": sizes.steps // 2}
        self.stream = {"data": places["stream"], "steps": sizes.steps, "input": "stream", "workers": sizes.workers}

    def all(self) -> list[Measurement]:
        """In the order of STAGES, within a stage what answers most first."""
        return [*self.train(), *self.streamed(), *self.exact(), *self.evaluate(), *self.whole()]

    def one(self, stage: str, name: str, kind: str, limit: int, **given: Any) -> Measurement:
        """A measurement with a folder of its own."""
        return Measurement(
            stage, name, kind, limit, {"folder": str(self.root / "runs" / name)} | self.tokenizer | given
        )

    def train(self) -> list[Measurement]:
        """Packed input, against a bare loop and against a batch that is on the device."""
        sizes, base, fixed = self.sizes, self.base, self.fixed
        packed = {"data": self.places["packed"], "steps": sizes.steps}
        middle = {"model": sizes.middle, "batch": sizes.batch // 2}
        large = {"model": sizes.large, "batch": sizes.batch // 4}
        small = {"model": "small", "batch": 128, "data": self.places["small"], "steps": 10 * sizes.steps}
        many = {"batch": sizes.accumulated, "accumulate": max(1, sizes.accumulated // sizes.batch)}
        return [
            self.one("train", "base", "cell", 90, **packed, **base),
            self.one("train", "base-bare-compiled", "bare", 120, **base, **fixed, compile=True),
            self.one("train", "base-compiled", "cell", 150, **packed, **base, compile=True),
            self.one("train", "base-bare", "bare", 60, **base, **fixed),
            self.one("train", "base-resident", "resident", 60, **base, **fixed),
            self.one("train", "middle", "cell", 90, **packed, **middle),
            self.one("train", "large", "cell", 90, **packed, **large),
            self.one("train", "large-resident", "resident", 60, **large, **fixed),
            self.one("train", "base-crops", "cell", 90, **packed, **base, crop=[0.9, 1.0]),
            self.one("train", "small", "cell", 60, **small),
            self.one("train", "accumulated", "resident", 150, model=sizes.base, on_host=True, warm=0, steps=1, **many),
        ]

    def streamed(self) -> list[Measurement]:
        """Pairs from tars of JPEGs, against open_clip_train and against decoding alone."""
        given = self.stream | self.base
        return [
            self.one("stream", "streamed", "cell", 90, **given),
            self.one("stream", "streamed-peer", "peer", 150, **given, device=self.device),
            self.one("stream", "decoding", "decoding", 60, **given | self.fixed),
            self.one("stream", "streamed-crops", "cell", 90, **given, crop=[0.9, 1.0]),
        ]

    def exact(self) -> list[Measurement]:
        """Whether a cell that is disturbed ends with the same weights, a group a setting."""
        small = {"data": self.places["small"], "model": "small", "batch": 64, "steps": 4 * self.sizes.steps}
        base = {"model": self.sizes.base, "batch": 64, "steps": self.sizes.steps}
        groups = {
            "fp32": small | {"precision": "fp32"},
            "tf32": small | {"precision": "tf32"},
            "bf16": small,
            "fp16": small | {"precision": "amp"},
            "compiled": small | {"compile": True},
            "accumulated": small | {"accumulate": 4},
            "patch-dropout": small | {"patch_dropout": 0.5},
            "base-bf16": base | {"data": self.places["packed"]},
            "streamed": self.stream | base,
        }
        long = base | {"model": self.sizes.middle, "data": self.places["packed"], "steps": self.sizes.steps}
        groups |= {"long-bf16": long, "long-fp32": long | {"precision": "fp32"}}
        cost = {"data": self.places["packed"], "steps": self.sizes.steps, **self.base, "deterministic": False}
        return [
            *(self.one("exact", f"exact-{name}", "exactness", 200, **given) for name, given in groups.items()),
            self.one("exact", "exact-cost", "cell", 90, **cost),
        ]

    def evaluate(self) -> list[Measurement]:
        """Whole evaluations, against clip-benchmark's CLI."""
        shown = {"checkpoint": str(self.root / "random.pt"), "model": self.sizes.base, "workers": self.sizes.workers}
        found = [
            self.one("evaluate", "checkpoint", "checkpoint", 60, model=self.sizes.base, output=shown["checkpoint"])
        ]
        for name, place, images in (("", "set", self.sizes.images), ("-many", "many", self.sizes.many_images)):
            for side in ("", "-peer"):
                given = shown | {"set": self.places[place], "images": images, "peer": bool(side)}
                found.append(self.one("evaluate", f"evaluation{name}{side}", "evaluation", 200, **given))
        many = shown | {"set": self.places["many"], "images": self.sizes.many_images}
        found.append(self.one("evaluate", "evaluation-many-decoding", "set_decoding", 100, **many))
        found.append(self.one("evaluate", "evaluation-many-bf16", "evaluation", 200, **many, precision="bf16"))
        few = {"width": 512, "classes": self.sizes.classes, "epochs": [1]}
        sweep = few | {"epochs": [10, 20, 40], "examples": self.sizes.probe_examples, "device": self.device}
        found.append(self.one("evaluate", "probe", "probe", 150, **sweep))
        few |= {"examples": 5 * self.sizes.classes, "device": "cpu"}
        found.append(self.one("evaluate", "probe-cpu", "probe", 150, **few))
        return found

    def whole(self) -> list[Measurement]:
        """A study from end to end, and the tests."""
        return [
            self.one("study", "offline", "study", 180, config="config/offline.yaml"),
            self.one("tests", "tests-gpu", "tests", 200, arguments=["-m", "gpu", "tests"]),
            self.one("tests", "tests-train", "tests", 300, arguments=["tests/unit/train"]),
        ]


def run(one: Measurement, seconds: float) -> dict[str, Any]:
    """Make one measurement; an error or an end at the limit is a result too."""
    limit = min(one.limit, seconds)
    command = [sys.executable, str(HERE / "measure.py"), one.kind, json.dumps(one.given)]
    log = Path(one.given["folder"]).with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    with open(log, "w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
        try:
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return {"error": f"not done after {limit:.0f} s"}
    taken = time.monotonic() - began
    if process.returncode:
        return {"error": f"exit code {process.returncode}, see {log.name}", "process_seconds": taken}
    return dict(json.loads(output.splitlines()[-1])) | {"process_seconds": taken}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--seconds", type=float, default=360.0, help="no measurement starts later")
    parser.add_argument("--rehearse", action="store_true")
    args = parser.parse_args()
    import torch

    began, root = time.monotonic(), args.output.resolve()
    sizes, results = REHEARSAL if args.rehearse else Sizes(), root / "results.jsonl"
    places = prepare(root / "data", sizes)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    print(f"{device}, torch {torch.__version__}; data after {time.monotonic() - began:.0f} s", flush=True)
    lines = results.read_text().splitlines() if results.is_file() else []
    done = {row["name"] for row in map(json.loads, lines) if "error" not in row}
    for one in Study(root, sizes, places, torch.cuda.is_available()).all():
        left = args.seconds - (time.monotonic() - began)
        if one.stage not in args.stages or one.name in done or left < 5:
            continue
        row = {"stage": one.stage, "name": one.name, "device": device} | run(one, left)
        print(json.dumps(row), flush=True)
        with open(results, "a") as file:
            file.write(json.dumps(row) + "\n")
    print_table([json.loads(line) for line in results.read_text().splitlines()] if results.is_file() else [])


if __name__ == "__main__":
    main()
