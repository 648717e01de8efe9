"""One measurement a process: python benchmarks/gpu/measure.py NAME JSON; prints one JSON line a result.

Names and their settings are in run.py. Training is measured on scripts/train.py as a whole process, by the points of
its curve after the warm-up; `bare` and `resident` say what the same work takes without input.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from training_common import REPOSITORY, train_command

Row = dict[str, Any]
TINY = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 64, "patch_size": 16, "width": 64, "head_width": 32, "layers": 2},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
}
SMALL = {
    "embed_dim": 64,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 96, "head_width": 32, "layers": 4},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 96, "heads": 3, "layers": 2},
}


def config_of(name: str) -> dict[str, Any]:
    """An open_clip model by its name; `tiny` and `small` are ours."""
    if name in ("tiny", "small"):
        return TINY if name == "tiny" else SMALL
    import open_clip

    return dict(json.loads((Path(open_clip.__file__).parent / f"model_configs/{name}.json").read_text()))


def recipe_of(given: Row) -> dict[str, Any]:
    """Fields of the recipe that a setting names, and no early end."""
    known = {"global_batch_size": given["batch"], "precision": given.get("precision", "amp_bf16")}
    known |= {"crop_scale": given.get("crop"), "patch_dropout": given.get("patch_dropout", 0.0)}
    known |= {"deterministic": given.get("deterministic", True)}
    return known | {"instability": {"spike_factor": None}, "max_lost_fraction": 0.5, "learning_rate": 5e-4}


def resources_of(given: Row) -> dict[str, Any]:
    """Fields of resources.train that a setting names."""
    names = ("compile", "accumulate", "gradient_checkpointing", "input", "workers", "gpus", "checkpoint_minutes")
    return {name: given[name] for name in names if name in given}


# ---------------------------------------------------------------- training


def cell(given: Row) -> Row:
    """Train a cell; its speed over the second half of its steps, and the share of them that waited for data."""
    folder = Path(given["folder"])
    samples = given["steps"] * given["batch"]
    command = train_command(
        folder, Path(given["data"]), Path(given["tokenizer"]), config_of(given["model"]), recipe_of(given), samples,
        resources_of(given),
    )  # fmt: skip
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=REPOSITORY)
    lines = [json.loads(line) for line in (folder / "curve.jsonl").read_text().splitlines()]
    points = [line for line in lines if "loss" in line]
    first, last = points[len(points) // 2], points[-1]
    speed = (last["samples"] - first["samples"]) / (last["seconds"] - first["seconds"])
    wait = sum(point["data_wait_share"] for point in points[len(points) // 2 :]) / len(points[len(points) // 2 :])
    return {"samples_per_s": speed, "data_wait_share": wait, "seconds": time.perf_counter() - began,
            "weights": json.loads((folder / "train.json").read_text())["weights_sha256"]}  # fmt: skip


def resident(given: Row) -> Row:
    """The trainer's steps on one batch that is on the device: what input costs is the difference to `cell`."""
    import numpy as np
    import torch
    from data import noise_tokens

    from clip_scaling.study.config.resources import TrainResources
    from clip_scaling.study.config.training import Recipe
    from clip_scaling.train.distributed import join_ranks
    from clip_scaling.train.engine import Engine
    from clip_scaling.train.inputs import Batch

    config, batch = config_of(given["model"]), given["batch"]
    side = config["vision_cfg"]["image_size"]
    resources = TrainResources.model_validate(resources_of(given))
    engine = Engine(config, Recipe.model_validate(recipe_of(given)), resources, join_ranks(resources.gpus), 0)
    pixels = torch.randint(0, 256, (batch, side, side, 3), dtype=torch.uint8)
    tokens = torch.from_numpy(noise_tokens(np.random.default_rng(0), batch)).long()
    where = torch.device("cpu") if given.get("on_host") else engine.ranks.device
    there = Batch(pixels.to(where), tokens, np.arange(batch))

    def step(number: int) -> None:
        engine.make_gradients(there, number)
        engine.move(1e-4)

    return clocked(step, given["warm"], given["steps"], batch)


def bare(given: Row) -> Row:
    """open_clip's model and loss with fused AdamW on floats that are on the device; nothing is waited for."""
    import torch
    from open_clip.loss import ClipLoss

    from clip_scaling.models.build import build_model

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    config, batch = config_of(given["model"]), given["batch"]
    side = config["vision_cfg"]["image_size"]
    model: Any = build_model(config).to(device).train()
    parameters = list(model.parameters())
    if given.get("compile"):
        model = torch.compile(model)
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    images = torch.randn(batch, 3, side, side, device=device)
    texts = torch.randint(1, 40_000, (batch, config["text_cfg"]["context_length"]), device=device)
    loss = ClipLoss()

    def step(number: int) -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            out = model(images, texts)
        loss(out["image_features"].float(), out["text_features"].float(), out["logit_scale"]).backward()
        optimizer.step()

    return clocked(step, given["warm"], given["steps"], batch)


def clocked(step: Any, warm: int, steps: int, batch: int) -> Row:
    """Samples a second of `steps` steps after `warm` ones, and the peak of the device's memory."""
    import torch

    def wait() -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()

    began = time.perf_counter()
    for number in range(warm):
        step(number)
    wait()
    warmed = time.perf_counter()
    for number in range(steps):
        step(warm + number)
    wait()
    seconds = time.perf_counter() - warmed
    peak = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else None
    return {"samples_per_s": steps * batch / seconds, "warm_seconds": warmed - began, "peak_gb": peak}


def peer(given: Row) -> Row:
    """open_clip_train on the same tars; samples a second by its own log, the first window left out."""
    from clip_scaling.records.files import read_json, write_json
    from clip_scaling.study.config.resources import TrainResources
    from clip_scaling.study.config.training import Recipe
    from clip_scaling.train.peer import PYTHON, PeerRun

    folder, manifest = Path(given["folder"]), Path(given["data"])
    write_json(folder / "model/open_clip_config.json", {"model_cfg": config_of(given["model"])})
    shards = [str(manifest.parent / entry["path"]) for entry in read_json(manifest)["shards"]]
    run = PeerRun(
        Recipe.model_validate(recipe_of(given)), TrainResources(compile=given.get("compile", False)), shards, folder,
        steps=given["steps"], workers=given["workers"], seed=0, ranks=1, device=given["device"],
    )  # fmt: skip
    python = os.environ.get(PYTHON, str(REPOSITORY / ".venv-peers/bin/python"))
    done = subprocess.run([python, "-m", "open_clip_train.main", *run.arguments()], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"open_clip_train ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    batches = [float(text) for text in re.findall(r"Batch \(t\): ([\d.]+)", done.stdout + done.stderr)]
    later = sorted(batches[len(batches) // 2 :])
    return {"samples_per_s": given["batch"] / later[len(later) // 2]}


def decoding(given: Row) -> Row:
    """The stream alone: decoded batches a second, without a model."""
    from clip_scaling.data.shards.read import PairReader
    from clip_scaling.train.order import Order, rank_positions
    from clip_scaling.train.stream import Form, StreamInput

    reader = PairReader.open(Path(given["data"]))
    order = Order([entry.pairs for entry in reader.shards], 0, window=4096)
    form = Form(config_of(given["model"])["vision_cfg"]["image_size"], 77, given.get("crop"))
    stream = StreamInput(
        reader, Path(given["tokenizer"]), order, form, workers=given["workers"], ranks=1, batch_size=given["batch"]
    )

    def step(number: int) -> None:
        stream.batch(rank_positions(number, given["batch"], 0, 1))

    found = clocked(step, given["warm"], given["steps"], given["batch"])
    stream.close()
    return found


# ---------------------------------------------------------------- the same bits


def exactness(given: Row) -> Row:
    """Train a cell undisturbed twice, after a SIGKILL, and after a USR2: how many hashes its weights have."""
    draw, hashes = random.Random(0), {}
    for name, sent in (("first", None), ("second", None), ("killed", signal.SIGKILL), ("saved", signal.SIGUSR2)):
        folder = Path(given["folder"]) / name
        hashes[name] = _disturbed(given, folder, sent, draw)
    return {"hashes": len(set(hashes.values())), "weights": hashes}


def _disturbed(given: Row, folder: Path, sent: signal.Signals | None, draw: random.Random) -> str:
    """The hash of a cell's weights. sent: once, a little after its first saved state."""
    command = train_command(
        folder, Path(given["data"]), Path(given["tokenizer"]), config_of(given["model"]), recipe_of(given),
        given["steps"] * given["batch"], resources_of(given) | {"checkpoint_minutes": 0.005},
    )  # fmt: skip
    while not (folder / "train.json").is_file():
        process = subprocess.Popen(command, cwd=REPOSITORY)
        while sent is not None and process.poll() is None:
            if any(folder.glob("resume/step-*.pt")):
                time.sleep(draw.uniform(0, 0.5))
                process.send_signal(sent)
                sent = None
            time.sleep(0.01)
        if process.wait() not in (0, 75, -signal.SIGKILL):
            raise RuntimeError(f"{folder.name}: the cell ended with {process.returncode}")
    return str(json.loads((folder / "train.json").read_text())["weights_sha256"])


# ---------------------------------------------------------------- evaluation and the whole

CLI = "import sys, open_clip; open_clip.add_model_config(sys.argv.pop(1)); import clip_benchmark.cli as cli; cli.main()"


def evaluation(given: Row) -> Row:
    """Evaluate a checkpoint as a whole process: images a second. given["peer"]: clip-benchmark's CLI instead."""
    from clip_scaling.records.files import read_json

    folder, manifest = Path(given["folder"]), Path(given["set"])
    folder.mkdir(parents=True, exist_ok=True)
    if given.get("peer"):
        (folder / "configs").mkdir(exist_ok=True)
        (folder / "configs/peer.json").write_text(json.dumps(config_of(given["model"])))
        command = [sys.executable, "-c", CLI, str(folder / "configs"), "eval", "--model", "peer", "--pretrained",
                   given["checkpoint"], "--dataset", "wds/photos", "--dataset_root", str(read_json(manifest)["folder"]),
                   "--task", "zeroshot_classification", "--batch_size", "256", "--no_amp", "--num_workers",
                   str(given["workers"]), "--output", str(folder / "peer.json")]  # fmt: skip
    else:
        command = [sys.executable, str(REPOSITORY / "scripts/evaluate.py"), "--checkpoint", given["checkpoint"],
                   "--sets", str(manifest), "--tokenizer", given["tokenizer"], "--output", str(folder / "ours.json"),
                   "--threads", "1", "--workers", str(given["workers"]),
                   "--suite", json.dumps({"precision": given.get("precision", "fp32")})]  # fmt: skip
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=REPOSITORY)
    seconds = time.perf_counter() - began
    return {"images_per_s": given["images"] / seconds, "seconds": seconds}


def set_decoding(given: Row) -> Row:
    """Decode an evaluation set by workers, without a model: images a second."""
    from clip_scaling.data.evaluation_sets.parallel import Decoding, decoded_batches
    from clip_scaling.models.preprocess import Preprocess
    from clip_scaling.records.files import read_json

    preprocess = Preprocess(config_of(given["model"])["vision_cfg"]["image_size"])
    began = time.perf_counter()
    batches = decoded_batches(
        Path(read_json(Path(given["set"]))["folder"]), preprocess, Decoding(256, given["workers"])
    )
    images = sum(len(batch.pixels) for batch in batches)
    seconds = time.perf_counter() - began
    return {"images_per_s": images / seconds, "seconds": seconds}


def probe(given: Row) -> Row:
    """Train a sweep of linear probes: examples x epochs x probes a second. A CPU has one thread."""
    import torch

    from clip_scaling.evaluate.pieces import Examples
    from clip_scaling.evaluate.probe_training import Setting, train_sweep

    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    features = torch.nn.functional.normalize(torch.randn(given["examples"], given["width"], generator=generator), dim=1)
    labels = torch.randint(given["classes"], (given["examples"],), generator=generator)
    settings = [Setting(rate, 0.0, epochs) for epochs in given["epochs"] for rate in (0.1, 0.01, 0.001)]
    began = time.perf_counter()
    probes = train_sweep(Examples(features, labels).on(torch.device(given["device"])), given["classes"], settings)
    sums = [float(probe.weight.sum()) for probe in probes]  # waits for a GPU
    seconds = time.perf_counter() - began
    rate = given["examples"] * sum(setting.epochs for setting in settings) / seconds
    return {"rate": rate, "seconds": seconds, "sums": sums}


def checkpoint(given: Row) -> Row:
    """Write a checkpoint with random weights."""
    import torch

    from clip_scaling.models.build import build_model
    from clip_scaling.models.checkpoint import save_checkpoint
    from clip_scaling.records.files import sha256_file

    torch.manual_seed(0)
    config = config_of(given["model"])
    about = {"cell": "random", "state": "trained", "model_config": config}
    about["tokenizer_sha256"] = sha256_file(Path(given["tokenizer"]))
    save_checkpoint(Path(given["output"]), build_model(config).state_dict(), about)
    return {}


def study(given: Row) -> Row:
    """Run a study from prepared nothing to its report, in a copy of the project."""
    folder = Path(given["folder"])
    folder.mkdir(parents=True)
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=REPOSITORY, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], input=archive, cwd=folder, check=True)
    began = time.perf_counter()
    command = [sys.executable, "-m", "snakemake", "--cores", "all", "--configfile", given["config"]]
    subprocess.run(command, cwd=folder, check=True)
    return {"seconds": time.perf_counter() - began}


def tests(given: Row) -> Row:
    """Run the tests that need a GPU, and those of training with a GPU visible."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *given["arguments"]]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    print(done.stdout[-3000:], file=sys.stderr)
    return {"exit_code": done.returncode, "last_line": (done.stdout.splitlines() or [""])[-1]}


MEASURES = {
    call.__name__: call
    for call in (
        cell,
        resident,
        bare,
        peer,
        decoding,
        exactness,
        evaluation,
        set_decoding,
        probe,
        checkpoint,
        study,
        tests,
    )
}


def main() -> None:
    print(json.dumps(MEASURES[sys.argv[1]](json.loads(sys.argv[2]))))


if __name__ == "__main__":
    main()
