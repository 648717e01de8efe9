"""What a short training job pays beside its training: importing for itself, and as a fork of a warm interpreter.

    snakemake --cores all --configfile config/offline.yaml
    python benchmarks/job_start.py --configfile config/offline.yaml --jobs 5

Runs the command of the study's first cell again and again, into a folder that is deleted, and prints wall and CPU
seconds a job, the interpreter's imports included, and those of the training steps. The weights of all runs must be
equal. Linux.
"""

import argparse
import ctypes
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import yaml

from clip_scaling.machine.warm import warm_folder
from clip_scaling.study.resolve import load_study

PR_SET_CHILD_SUBREAPER = 36


def command_of(configfile: Path) -> str:
    """The training command of the study's first cell, as Snakemake would run it."""
    root = Path(__file__).resolve().parent.parent
    study = load_study(yaml.safe_load(configfile.read_text()), root)
    cell = next(iter(study.cells))
    target = f"results/{study.config.study}/train/{cell}/train.json"
    asked = ["snakemake", "--cores", "1", "-n", "-p", "-f", target, "--configfile", str(configfile)]
    text = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = re.search(r"(python scripts/train.py cell .*?) --resume", text, re.DOTALL)
    if found is None:
        sys.exit(f"{configfile}: no training job in the dry run")
    return found[1]


def run(command: str) -> tuple[float, float, str]:
    """Wall seconds of one job, those of its steps, and the hash of its weights."""
    with tempfile.TemporaryDirectory() as folder:
        files = f"--resume {folder}/resume --output {folder}/checkpoint.pt {folder}/train.json {folder}/curve.jsonl"
        begun = time.monotonic()
        subprocess.run(f"{command} {files}", shell=True, check=True, capture_output=True)
        wall = time.monotonic() - begun
        record = json.loads(Path(folder, "train.json").read_text())
    return wall, record["seconds"], record["weights_sha256"]


def measure(command: str, jobs: int) -> set[str]:
    """Run the jobs and all that they leave behind, and print what it took; the hashes of the weights."""
    before = _cpu_seconds()
    found = [run(command) for _ in range(jobs)]
    walls, steps = [wall for wall, _, _ in found], [seconds for _, seconds, _ in found]
    print(f"  wall a job: first {walls[0]:.2f} s, others {median(walls[1:]):.2f} s; steps {median(steps):.2f} s")
    print(f"  CPU a job, less interpreters that still run: {(_cpu_seconds() - before) / jobs:.2f} s", flush=True)
    return {weights for _, _, weights in found}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, default=Path("config/offline.yaml"))
    parser.add_argument("--jobs", type=int, default=5)
    args = parser.parse_args()
    command = command_of(args.configfile)
    print("each for itself")
    cold = measure(command, args.jobs)
    print("forks of a warm interpreter")
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)  # the interpreter counts as a child, once it is waited for
    begun = _cpu_seconds()
    driver = os.fork()
    if driver == 0:
        with warm_folder():
            warm = measure(command, args.jobs)
        print("same weights" if warm == cold and len(cold) == 1 else f"weights differ: {cold} {warm}", flush=True)
        os._exit(0)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    print(f"  CPU a job, all included: {(_cpu_seconds() - begun) / args.jobs:.2f} s")


if __name__ == "__main__":
    main()
