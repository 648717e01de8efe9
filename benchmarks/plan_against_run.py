"""A finished study on this machine held against its pilot's estimate and against the simulated schedule.

snakemake --cores 2 pilot --configfile config/offline.yaml      # writes plan.json from measured speeds
cp results/offline/plan/plan.json before.json
snakemake --cores 2 --configfile config/offline.yaml
python benchmarks/plan_against_run.py --configfile config/offline.yaml --before before.json --cores 2

1. Core-hours of training, evaluation and fine-tuning: planned by the pilot, and used (Snakemake's benchmark files, the
   whole jobs).
2. From the first of these jobs' start to the last one's end: by the clock, simulated from the jobs' own durations, and
   simulated from the pilot's estimates.
"""

import argparse
import json
from pathlib import Path

from clip_scaling.cost.results import Results
from clip_scaling.plan.files import open_study
from clip_scaling.plan.simulate import Job, Machines, simulate


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configfile", type=Path, required=True)
    parser.add_argument("--before", type=Path, required=True, help="plan.json of the pilot")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--root", type=Path, default=Path("."))
    args = parser.parse_args()
    study = open_study(args.configfile, args.root)
    results = Results(args.root, study.config.study)
    planned = {row["cell"]: row for row in json.loads(args.before.read_text())["rows"]}
    used: dict[str, float] = {}
    jobs, guessed, ends, starts = [], [], [], []
    tuned = set(study.fine_tuned_cells())
    for name in study.cells:
        row = planned[name]
        after_training = [f"evaluate/{name}"]
        after_training += [f"fine_tune/{name}/{each}" for each in study.fine_tuned_sets()] if name in tuned else []
        for job in (f"train/{name}", *after_training):
            stage = job.split("/")[0]
            seconds = results.job_seconds(job)
            assert seconds is not None, f"{job}: no benchmark. Run the study first."
            end = (args.root / "results" / "benchmarks" / study.config.study / f"{job}.tsv").stat().st_mtime
            ends.append(end)
            starts.append(end - seconds)
            used[stage] = used.get(stage, 0.0) + seconds / 3600
            is_train = stage == "train"
            after, priority = ((), row["compute_gmacs"]) if is_train else ((f"train/{name}",), 0.0)
            jobs.append(Job(job, seconds, 1, after, priority))
            guess = row["wall_hours"] if is_train else row["evaluation_hours"] / len(after_training)
            guessed.append(Job(job, guess * 3600, 1, after, priority))
    training = sum(row["cpu_hours"] for row in planned.values())
    rest = sum(row["evaluation_hours"] for row in planned.values())
    used_rest = sum(hours for stage, hours in used.items() if stage != "train")
    report("training, core-hours: planned", training, used["train"])
    report("evaluation and fine-tuning: planned", rest, used_rest)
    report("all: planned", training + rest, used["train"] + used_rest)
    clock = max(ends) - min(starts)
    for what, its in (("the jobs' durations", jobs), ("the pilot's estimates", guessed)):
        found = simulate(its, Machines(devices=args.cores)).finish_hours  # in seconds, as the durations
        print(f"{what}: simulated {found:.1f} s, by the clock {clock:.1f} s ({found / clock - 1:+.1%})")


def report(what: str, planned: float, used: float) -> None:
    """One line with the error of an estimate."""
    print(f"{what} {planned:.4f}, used {used:.4f} ({planned / used - 1:+.1%})")


if __name__ == "__main__":
    main()
