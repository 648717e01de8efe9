"""The paper's grid, and one ten times larger (ten seeds of each run), on clusters of several sizes: when would it end?

python benchmarks/plan_schedule.py

For each cluster: days to the last job (median and 90 % interval), share of GPUs busy, GPU-hours lost, all simulated.
"""

import copy
from dataclasses import replace
from pathlib import Path

import yaml

from clip_scaling.plan.schedule import machines_of, make_schedule
from clip_scaling.plan.sums import total
from clip_scaling.plan.table import make_plan
from clip_scaling.study.resolve import load_study

ROOT = Path(__file__).resolve().parent.parent
CASES = (
    (1, 1520, 24, "as in config/laion.yaml"),
    (1, 1520, 6, "slices of 6 h"),
    (1, 3744, 24, "all of JUWELS Booster"),
    (10, 3744, 24, ""),
    (10, 15_200, 24, ""),
    (10, 15_200, 6, "slices of 6 h"),
    (10, 100_000, 24, ""),
)


def main() -> None:
    raw = yaml.safe_load((ROOT / "config" / "laion.yaml").read_text())
    print("| runs | GPU-hours | GPUs | limit | days (90 %) | busy | lost GPU-hours | |")
    print("|---|---|---|---|---|---|---|---|")
    for seeds, gpus, limit, note in CASES:
        more = copy.deepcopy(raw)
        more["grid"]["include"] = [cell | {"seed": n} for n in range(seeds) for cell in raw["grid"]["include"]]
        study = load_study(more, ROOT)
        plan = make_plan(study, ROOT)
        machines = replace(machines_of(study, is_cpu=False), devices=gpus, time_limit_hours=limit)
        found = make_schedule(plan, study, machines)
        assert found is not None
        days = [found[key] / 24 for key in ("finish_hours", "finish_hours_low", "finish_hours_high")]
        print(
            f"| {len(plan.rows)} | {total(plan.rows, 'gpu_hours')[0]:,.0f} | {gpus:,} | {limit} h | "
            f"{days[0]:.1f} ({days[1]:.1f} to {days[2]:.1f}) | {found['utilisation']:.0%} | "
            f"{found['lost_device_hours']:,.0f} | {note} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
