"""The jobs of a plan on the study's cluster: when it ends, with an interval, and what other limits would change."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import Any

import numpy as np

from ..machine.gpus import visible_gpus
from ..study.grid import trunk_name
from ..study.resolved import ResolvedStudy
from .simulate import Job, Machines, Outcome, simulate
from .sums import SHARED_VARIANCE
from .table import Plan

DRAWS = 40
FEWEST_DRAWS = 3
MOST_SLICES = 40_000
"""Over all draws: a large grid is drawn less often, and its finish varies less."""


def jobs_of(plan: Plan, study: ResolvedStudy) -> list[Job]:
    """The training jobs that are still to run; under schedule wsd a trunk's parts, in a row, and their cooldowns."""
    jobs: list[Job] = []
    last: dict[str, str] = {}
    to_do = sorted(plan.to_do, key=lambda row: row.samples_seen)
    for row in to_do:
        cell = study.cells[row.cell]
        devices = row.gpus / row.cells_per_gpu or row.cores
        branch = study.branch_step(cell)
        if not branch:
            jobs.append(Job(row.cell, row.wall_hours, devices, (), row.compute_gmacs))
            continue
        own = max(1.0, row.samples_trained / row.global_batch_size)
        cooldown = row.wall_hours * min(1.0, (row.steps - branch) / own)
        trunk = f"trunk {row.cell}"
        before = last.get(trunk_name(cell))
        jobs.append(Job(trunk, row.wall_hours - cooldown, devices, (before,) if before else (), math.inf))
        jobs.append(Job(row.cell, cooldown, devices, (trunk,), row.compute_gmacs))
        last[trunk_name(cell)] = trunk
    return jobs


def machines_of(study: ResolvedStudy, is_cpu: bool, widest: float = 1) -> Machines:
    """The study's cluster as the simulation sees it; without GPUs its cores.

    widest: devices of the largest job. Cores are by default this machine's, or as many as the largest job asks for:
    a study for a cluster is planned on a small machine. GPUs are this machine's where the study takes what is there.
    """
    cluster = study.config.resources.cluster
    here = max(len(visible_gpus()), widest) if study.config.resources.train.gpus == "auto" else None
    return Machines(
        devices=(cluster.cores or max(os.cpu_count() or 1, widest)) if is_cpu else cluster.gpus or here,
        concurrent_jobs=cluster.concurrent_jobs,
        time_limit_hours=cluster.time_limit_hours,
        queue_wait_hours=cluster.queue_wait_hours,
        restart_hours=cluster.restart_hours if cluster.time_limit_hours or cluster.failures_per_gpu_hour else 0.0,
        failures_per_device_hour=cluster.failures_per_gpu_hour,
        checkpoint_hours=study.config.resources.train.checkpoint_minutes / 60,
    )


def make_schedule(plan: Plan, study: ResolvedStudy, machines: Machines | None = None) -> dict[str, Any] | None:
    """Finish (hours, 90 % interval), utilisation, lost device-hours, variants; None with nothing to do."""
    jobs = jobs_of(plan, study)
    if not jobs:
        return None
    machines = machines or machines_of(study, not any(row.gpus for row in plan.to_do), max(job.devices for job in jobs))
    outcome = simulate(jobs, machines)
    finishes = _draws(plan, study, jobs, machines)
    return {
        "jobs": len(jobs),
        "devices": machines.devices or outcome.peak_devices,
        "finish_hours": float(np.median(finishes)),
        "finish_hours_low": float(np.quantile(finishes, 0.05)),
        "finish_hours_high": float(np.quantile(finishes, 0.95)),
        "utilisation": outcome.utilisation(machines.devices),
        "lost_device_hours": outcome.lost_device_hours,
        "slices": outcome.slices,
        "failures": outcome.failures,
        "variants": _variants(jobs, machines, outcome),
        "spans": {name: [round(start, 4), round(end, 4)] for name, (start, end) in outcome.spans.items()},
    }


def _draws(plan: Plan, study: ResolvedStudy, jobs: list[Job], machines: Machines) -> list[float]:
    """Finish hours under drawn speeds (part of a speed's error is common to a model), waits and failures."""
    random = np.random.default_rng(0)
    rows = {row.cell: row for row in plan.rows}
    finishes = []
    slices = sum(1 + job.hours / (machines.time_limit_hours or math.inf) for job in jobs)
    for draw in range(max(FEWEST_DRAWS, min(DRAWS, int(MOST_SLICES / slices)))):
        common = {model: random.standard_normal() for model in study.models}
        drawn = []
        for job in jobs:
            row = rows[job.name.removeprefix("trunk ")]
            noise = math.sqrt(SHARED_VARIANCE) * common[row.model]
            noise += math.sqrt(1 - SHARED_VARIANCE) * random.standard_normal()
            drawn.append(replace(job, hours=job.hours * math.exp(row.sd * noise)))
        finishes.append(simulate(drawn, machines, seed=draw).finish_hours)
    return finishes


def _variants(jobs: list[Job], machines: Machines, now: Outcome) -> list[dict[str, Any]]:
    """What other limits would change; half the devices a job takes twice its time (perfect scaling is assumed)."""
    halves = []
    for job in jobs:
        half = max(1, job.devices // 2) if job.devices > 1 else job.devices
        halves.append(replace(job, devices=half, hours=job.hours * job.devices / half))
    asked: list[tuple[str, list[Job], Machines]] = [("half the devices a job", halves, machines)]
    if machines.time_limit_hours:
        longer = replace(machines, time_limit_hours=2 * machines.time_limit_hours)
        asked.append((f"a time limit of {longer.time_limit_hours:g} h", jobs, longer))
    if machines.devices:
        asked.append((f"{2 * machines.devices} devices", jobs, replace(machines, devices=2 * machines.devices)))
    rows = []
    for what, its_jobs, its_machines in asked:
        outcome = simulate(its_jobs, its_machines)
        rows.append(
            {
                "what": what,
                "finish_hours": outcome.finish_hours,
                "change_hours": outcome.finish_hours - now.finish_hours,
                "lost_device_hours": outcome.lost_device_hours,
                "utilisation": outcome.utilisation(its_machines.devices),
            }
        )
    return rows
