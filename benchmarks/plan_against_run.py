"""A finished study on this machine held against its pilot's estimate and against the simulated schedule.

snakemake --cores 2 pilot --configfile config/offline.yaml      # writes plan.json from measured speeds
cp results/offline/plan/plan.json before.json
snakemake --cores 2 --configfile config/offline.yaml
python benchmarks/plan_against_run.py --configfile config/offline.yaml --before before.json --cores 2

1. Core-hours of the training jobs: planned by the pilot, and used (Snakemake's benchmark files, the whole jobs).
2. Training and evaluation from the first job's start to the last one's end: by the clock, and simulated from the jobs'
   own durations; and simulated from the pilot's estimates for training.
"""

import argparse
import json
from pathlib import Path

from clip_scaling.plan.files import open_study
from clip_scaling.plan.records import Folders
from clip_scaling.plan.simulate import Job, Machines, simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, required=True)
    parser.add_argument("--before", type=Path, required=True, help="plan.json of the pilot")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--root", type=Path, default=Path("."))
    args = parser.parse_args()
    study = open_study(args.configfile, args.root)
    folders = Folders(args.root, study.config.study)
    planned = {row["cell"]: row for row in json.loads(args.before.read_text())["rows"]}
    used, jobs, guessed, ends, starts = 0.0, [], [], [], []
    for name, cell in study.cells.items():
        for stage in ("train", "evaluate"):
            seconds = folders.benchmark_seconds(stage, cell)
            assert seconds is not None, f"{name}: no benchmark of {stage}. Run the study first."
            end = (args.root / "results" / "benchmarks" / study.config.study / stage / f"{name}.tsv").stat().st_mtime
            ends.append(end)
            starts.append(end - seconds)
            is_train = stage == "train"
            used += seconds / 3600 if is_train else 0.0
            after = () if is_train else (f"train {name}",)
            priority = planned[name]["compute_gmacs"] if is_train else 0.0
            jobs.append(Job(f"{stage} {name}", seconds, 1, after, priority))
            guess = planned[name]["wall_hours"] * 3600 if is_train else seconds
            guessed.append(Job(f"{stage} {name}", guess, 1, after, priority))
    hours = sum(row["cpu_hours"] for row in planned.values())
    print(f"training, core-hours: planned {hours:.4f}, used {used:.4f} ({hours / used - 1:+.1%})")
    clock = max(ends) - min(starts)
    for what, its in (("the jobs' durations", jobs), ("the pilot's estimates", guessed)):
        found = simulate(its, Machines(devices=args.cores)).finish_hours  # in seconds, as the durations
        print(f"{what}: simulated {found:.1f} s, by the clock {clock:.1f} s ({found / clock - 1:+.1%})")


if __name__ == "__main__":
    main()
