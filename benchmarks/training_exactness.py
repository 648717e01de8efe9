"""Runs that are killed or asked to stop, and continued, against one that nothing disturbs; and the order on ranks.

python benchmarks/training_exactness.py [--kills 50] [--stops 20] [--json FILE]

1. A tiny cell is trained undisturbed. Then it is trained --kills times with a SIGKILL at a random moment and --stops
   times with a USR2, and continued by the same call until it is done. States are written every 100 ms, so that kills
   fall into writes too. Weights (sha256) and the digest of the order must be those of the undisturbed run; the digest
   must also be the one that follows from the order alone: each pair at its place once.
2. The cell is streamed from its tars at 1, 2 and 4 ranks with 0, 1 and 3 workers: one digest for all.

Every run is a process of its own, forked from this one after its imports (which take longer than the runs).
"""

import argparse
import json
import os
import random
import shutil
import signal
import socket
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training_common import Data, model_config, write_data

from clip_scaling.records.files import read_json
from clip_scaling.study.config.training import RECIPE_VERSION, Recipe
from clip_scaling.study.grid import Cell
from clip_scaling.train.job import CellFiles, TrainJob, train_cell
from clip_scaling.train.order import Order, order_digest
from clip_scaling.train.signals import EXIT_SAVED, listen

PAIRS, BATCH, STEPS, SHARDS = 480, 16, 60, 8
RECIPE = {"global_batch_size": BATCH, "learning_rate": 1e-3, "readers": 8, "shuffle_window": 20}
RESOURCES = {"checkpoint_minutes": 0.1 / 60, "keep_states": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--stops", type=int, default=20)
    parser.add_argument("--without-ranks", action="store_true", help="leave out the second part")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        # In a process of its own: what is forked later must not have started any thread.
        if wait(fork(write_data, root / "data", PAIRS, 16, shards=SHARDS)) != 0:
            sys.exit("the data could not be written")
        data = Data(
            root / "data/tars/manifest.json", root / "data/packed/manifest.json", root / "data/merges.txt.gz", 0
        )
        report = interrupted(root, data, args.kills, args.stops, random.Random(args.seed))
        if not args.without_ranks:
            report["order"] = on_ranks(root, data)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n")
    if report["different"]:
        sys.exit(f"{report['different']} runs ended otherwise than the undisturbed one")


def expected_digest() -> str:
    """What the order alone says of all positions of the run; each epoch is checked to be a permutation."""
    order = Order([PAIRS // SHARDS] * SHARDS, 0, readers=8, window=20)
    positions = np.arange(STEPS * BATCH)
    indices = order.indices(positions)
    for epoch in range(STEPS * BATCH // PAIRS):
        assert np.array_equal(np.sort(indices[epoch * PAIRS : (epoch + 1) * PAIRS]), np.arange(PAIRS)), epoch
    return f"{order_digest(positions, indices) & ((1 << 64) - 1):016x}"


# ---------------------------------------------------------------- interruptions


def interrupted(root: Path, data: Data, kills: int, stops: int, moments: random.Random) -> dict[str, Any]:
    """Train undisturbed, then with every interruption; prints and returns the counts."""
    begun = time.monotonic()
    record = finish(root / "undisturbed", data)
    seconds = time.monotonic() - begun
    truth = {key: record[key] for key in ("weights_sha256", "seen_digest", "final_loss")}
    assert truth["seen_digest"] == expected_digest(), "the undisturbed run missed or doubled a pair"
    print(f"undisturbed: {STEPS} steps in {seconds:.1f} s, weights {truth['weights_sha256'][:12]}", flush=True)
    report: dict[str, Any] = {"undisturbed": truth, "different": 0}
    for kind, number, count in (("SIGKILL", signal.SIGKILL, kills), ("USR2", signal.SIGUSR2, stops)):
        done = {"runs": 0, "same": 0, "in_a_write": 0, "continued": 0}
        while done["runs"] < count:
            folder = root / f"{kind}-{done['runs']}"
            child = fork(train, arguments(folder, data))
            time.sleep(0.02 + moments.uniform(0.0, seconds))  # a fork listens to signals after a millisecond or so
            os.kill(child, number)
            ended = wait(child)
            if ended == 0:  # it was done before the signal came
                shutil.rmtree(folder)
                continue
            assert ended == (-signal.SIGKILL if kind == "SIGKILL" else EXIT_SAVED), f"{folder.name} ended with {ended}"
            done["in_a_write"] += any(folder.rglob(".*.tmp"))
            done["continued"] += any(folder.glob("resume/step-*.pt"))
            again = finish(folder, data)
            same = all(again[key] == value for key, value in truth.items())
            done["runs"] += 1
            done["same"] += same
            report["different"] += not same
            shutil.rmtree(folder)
        report[kind] = done
        print(
            f"{kind}: {done['runs']} runs, {done['continued']} continued from a state (others had none yet), "
            f"{done['in_a_write']} hit inside a write, {done['same']} ended with the same weights, digest and loss",
            flush=True,
        )
    return report


def finish(folder: Path, data: Data) -> dict[str, Any]:
    """Train to the end; returns the record."""
    ended = wait(fork(train, arguments(folder, data)))
    assert ended == 0, f"{folder.name} ended with {ended}"
    return dict(read_json(folder / "train.json"))


# ---------------------------------------------------------------- ranks and workers


def on_ranks(root: Path, data: Data) -> dict[str, str]:
    """{ranks and workers: digest of the order} of streamed runs."""
    found, weights = {}, {}
    for ranks in (1, 2, 4):
        for workers in (0, 1, 3):
            folder = root / f"ranks-{ranks}-{workers}"
            resources = {"input": "stream", "workers": workers}
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = str(free.getsockname()[1])
            children = [
                fork(
                    train,
                    arguments(folder, data, resources),
                    RANK=str(rank),
                    LOCAL_RANK=str(rank),
                    WORLD_SIZE=str(ranks),
                    MASTER_ADDR="127.0.0.1",
                    MASTER_PORT=port,
                    GLOO_SOCKET_IFNAME="lo",
                )  # fmt: skip
                for rank in range(ranks)
            ]
            ended = [wait(child) for child in children]
            assert ended == [0] * ranks, f"{folder.name} ended with {ended}"
            record = read_json(folder / "train.json")
            found[f"{ranks} ranks, {workers} workers"] = record["seen_digest"]
            weights.setdefault(ranks, set()).add(record["weights_sha256"])
    print("order, streamed: " + ("one digest, " if len(set(found.values())) == 1 else "") + str(sorted(found.values())))
    assert set(found.values()) == {expected_digest()}, "the order depends on ranks or workers"
    assert all(len(hashes) == 1 for hashes in weights.values()), "weights depend on the number of workers"
    return found


# ---------------------------------------------------------------- processes


def arguments(folder: Path, data: Data, resources: dict[str, Any] | None = None) -> TrainJob:
    """What scripts/train.py is asked for."""
    source = data.subset if resources else data.packed
    model = model_config(16, 8, 32, 1, 1, 700)
    about = {
        "recipe": Recipe.model_validate(RECIPE).model_dump(),
        "model_config": model,
        "recipe_version": RECIPE_VERSION,
    }
    cell = Cell("bench", "blocks", STEPS * BATCH, 0)
    asked = {"train": RESOURCES | (resources or {})}
    return TrainJob(cell, source, data.merges, about, asked, folder / "resume")


def train(asked: TrainJob) -> int:
    """What scripts/train.py does; returns the exit code."""
    listen()
    folder = asked.resume.parent
    files = CellFiles(folder / "checkpoint.pt", folder / "train.json", folder / "curve.jsonl")
    return EXIT_SAVED if train_cell(asked, files).state == "saved" else 0


def fork(call: Any, *given: Any, **rest: Any) -> int:
    """Run a call in a process of its own, its output discarded; returns the process id.

    Keywords in capitals are environment variables.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.environ.update({name: value for name, value in rest.items() if name.isupper()})
        with open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), 1)
            errors = os.dup(2)
            os.dup2(nothing.fileno(), 2)
        try:
            result = call(*given, **{name: value for name, value in rest.items() if not name.isupper()})
            code = result if isinstance(result, int) else 0
        except BaseException:
            os.dup2(errors, 2)
            traceback.print_exc()
    finally:
        os._exit(code)


def wait(child: int) -> int:
    """Exit code of a process; minus the signal's number where one killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
