"""Write the study's plan (table, record, page) and print it; stop with an error where it is over budget."""

import argparse
import json
import sys
from pathlib import Path

from clip_scaling.errors import run_script
from clip_scaling.machine.gpus import visible_gpus
from clip_scaling.plan.budget import check_budget
from clip_scaling.plan.files import full_plan, write_plan
from clip_scaling.plan.gpus import check_gpus, gpu_problems
from clip_scaling.plan.render import text_plan
from clip_scaling.plan.room import MORE_ROOM, room_problems
from clip_scaling.plan.terminal import terminal_width
from clip_scaling.study.resolve import load_study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=json.loads, help="the study as JSON")
    parser.add_argument("--root", type=Path, default=Path("."), help="the folder that holds results/")
    parser.add_argument("--quiet", action="store_true", help="print warnings and errors only")
    parser.add_argument("--here", action="store_true", help="the jobs run on this machine: it must have their GPUs")
    args = parser.parse_args()
    study = load_study(args.config, root=Path(__file__).absolute().parent.parent)
    plan = full_plan(study, args.root)
    gpus = len(visible_gpus())
    plan.notes += [f"{problem}; on a cluster it may run" for problem in gpu_problems(plan, study, gpus)]
    lacking = room_problems(study, plan.stages, args.root)
    plan.notes += lacking
    write_plan(plan, study, args.root)
    if not args.quiet:
        print(text_plan(plan, terminal_width()))
    for problem in lacking if args.quiet else []:
        print(f"Warning: {problem}. {MORE_ROOM}", file=sys.stderr)
    check_budget(plan, study.config.budget)
    if args.here:
        check_gpus(plan, study, gpus)


if __name__ == "__main__":
    run_script(main)
