"""Overhead of the executor: trivial jobs through it and through snakemake-executor-plugin-slurm, on one test cluster.

    pip install --no-deps --target PEER snakemake-executor-plugin-slurm==2.8.0 \\
        snakemake-executor-plugin-slurm-jobstep==0.6.1 throttler
    python benchmarks/executor_overhead.py --peer PEER --jobs 1000

Needs root and Slurm's packages, as `make test-cluster` does. Prints one JSON line an executor: CPU seconds of the
driver and its commands, seconds to the last result, calls to Slurm by command, counted by wrappers on PATH.
A trivial job takes 4 of the pretend nodes' 32 CPUs, so that 8 run at a time: on a machine of two cores the start of
Snakemake in each job decides the time to the last result.
"""

from __future__ import annotations

import argparse
import collections
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.cluster.slurm_cluster import Cluster  # noqa: E402

COMMANDS = ("sbatch", "sacct", "squeue", "scontrol", "scancel", "sinfo", "sacctmgr")
SNAKEFILE = """
rule all:
    input: expand("out/{{i}}", i=range({jobs}))

rule trivial:
    output: "out/{{i}}"
    threads: 4
    resources: runtime=10, mem_mb=600
    shell: "touch {{output}}"
"""
ARGUMENTS = {
    "submitit": ["--executor", "submitit", "--submitit-partition", "gpu"],
    # Without its option for job arrays, as it runs by default; --peer-options adds it.
    "slurm": ["--executor", "slurm", "--default-resources", "slurm_account=clip", "slurm_partition=gpu"],
}


def measure(executor: str, folder: Path, jobs: int, env: dict[str, str], options: list[str]) -> dict[str, object]:
    """Run the workflow once."""
    folder.mkdir()
    (folder / "Snakefile").write_text(SNAKEFILE.format(jobs=jobs))
    calls = folder / "calls"
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with open(folder / "log", "w") as log:
        done = subprocess.run(
            [sys.executable, "-m", "snakemake", "--jobs", str(jobs), *ARGUMENTS[executor], *options],
            cwd=folder, env=env | {"CALLS": str(calls)}, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{executor}: snakemake ended with {done.returncode}:\n{(folder / 'log').read_text()[-3000:]}")
    counted = collections.Counter(calls.read_text().split())
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "executor": executor,
        "jobs": jobs,
        "driver_cpu_seconds": round(cpu, 1),
        "seconds": round(time.monotonic() - began, 1),
        "calls": sum(counted.values()),
        "calls_by_command": dict(sorted(counted.items())),
    }


def write_wrappers(folder: Path, slurm_conf: str) -> None:
    """Commands of Slurm's names that note the call and pass it on."""
    folder.mkdir()
    for name in COMMANDS:
        real = shutil.which(name)
        if real is None:
            sys.exit(f"executor_overhead: {name} not found. Run `make test-cluster` first, which installs Slurm.")
        wrapper = folder / name
        wrapper.write_text(f'#!/bin/sh\n[ -n "$SLURM_JOB_ID" ] || echo {name} >> "$CALLS"\nexec {real} "$@"\n')
        wrapper.chmod(0o755)
    # The peer's jobs take SLURM_CONF out of srun's environment, and this cluster's is not in Slurm's usual place.
    srun = folder / "srun"
    srun.write_text(f'#!/bin/sh\nexport SLURM_CONF={slurm_conf}\nexec {shutil.which("srun")} "$@"\n')
    srun.chmod(0o755)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", type=Path, help="folder with the peer's packages; without it, ours only")
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--peer-options", default="", help="further snakemake arguments for the peer")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="overhead-"))
    folder.chmod(0o755)  # the database runs as a user of its own
    cluster = Cluster(folder / "slurm")
    try:
        cluster.start()
        write_wrappers(folder / "bin", cluster.env["SLURM_CONF"])
        path = f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        env = cluster.env | {"PATH": path, "OMP_NUM_THREADS": "1"}
        print(json.dumps(measure("submitit", folder / "submitit", args.jobs, env, [])), flush=True)
        if args.peer:
            env["PYTHONPATH"] = str(args.peer.absolute())
            options = args.peer_options.split()
            print(json.dumps(measure("slurm", folder / "peer", args.jobs, env, options)), flush=True)
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
