"""What a rule asks for, in Snakemake's words, turned into what one submission asks for. Pure functions."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .errors import ResourceError

# name -> meaning; `clip-scaling doctor`, the error messages and docs/cluster.md use the same words.
NAMES = {
    "runtime": "time limit, minutes",
    "mem_mb": "memory of the rule on one node, MB; --submitit-memory-overhead-mb is added for Snakemake in the job",
    "mem_mb_per_cpu": "memory of one CPU, MB; instead of mem_mb",
    "cpus_per_task": "CPUs of one rank; without it, `threads` are the CPUs of one node",
    "nodes": "nodes of the allocation",
    "tasks_per_node": "ranks that the launcher starts on each node",
    "gpus": "GPUs of the whole job",
    "gpus_per_node": "GPUs of one node",
    "slurm_partition": "partition, instead of --submitit-partition",
    "slurm_account": "account, instead of --submitit-account",
    "slurm_qos": "quality of service, instead of --submitit-qos",
    "slurm_constraint": "node features, instead of --submitit-constraint",
    "slurm_exclude": "nodes to keep away from, instead of --submitit-exclude",
}
# Snakemake's own, and a limit of one machine, without meaning for a submission.
_IGNORED = {
    "_cores", "_nodes", "_job", "mem", "mem_mib", "disk", "disk_mb", "disk_mib", "tmpdir", "launcher", "gpu_slots"
}  # fmt: skip
# Names of other executors and of sbatch -> what serves here.
_ELSEWHERE = {
    "gres": "`gpus` or `gpus_per_node` for GPUs, --submitit-sbatch 'gres=...' for anything else",
    "gpu": "`gpus`",
    "slurm_extra": "--submitit-sbatch 'name=value;flag'",
    "slurm_requeue": "nothing: jobs that can go on are requeued",
    "clusters": "--submitit-sbatch 'clusters=...'",
    "constraint": "`slurm_constraint`",
    "qos": "`slurm_qos`",
    "partition": "`slurm_partition`",
    "account": "`slurm_account`",
    "exclude": "`slurm_exclude`",
    "reservation": "--submitit-sbatch 'reservation=...'",
    "time": "`runtime`, minutes",
    "walltime": "`runtime`, minutes",
    "time_min": "`runtime`, minutes",
    "ntasks": "`tasks_per_node` and `nodes`",
    "tasks": "`tasks_per_node` and `nodes`",
    "mpi": "nothing: the rule's command starts its ranks with `{resources.launcher}`",
}
_COUNTS = ("runtime", "mem_mb", "mem_mb_per_cpu", "cpus_per_task", "nodes", "tasks_per_node")


@dataclass(frozen=True)
class Parameters:
    """One job's request. Jobs with equal parameters go into one array."""

    name: str
    runtime_minutes: int
    cpus_per_node: int
    nodes: int = 1
    gpus_per_node: int = 0
    mem_mb: int | None = None
    mem_mb_per_cpu: int | None = None
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None

    def with_memory(self, factor: float) -> Parameters:
        """The same request with more memory."""
        scaled = {
            name: round(value * factor) for name in ("mem_mb", "mem_mb_per_cpu") if (value := getattr(self, name))
        }
        return replace(self, **scaled)

    def without_nodes(self, nodes: Collection[str]) -> Parameters:
        """The same request, kept away from these nodes."""
        known = [name for name in (self.exclude or "").split(",") if name]
        return replace(self, exclude=",".join([*known, *sorted(set(nodes) - set(known))]) or None)


@dataclass(frozen=True)
class Defaults:
    """What a job gets when its rule does not say."""

    runtime_minutes: int = 60
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    exclude: str | None = None
    memory_overhead_mb: int = 0


def map_resources(
    name: str,
    resources: Mapping[str, Any],
    threads: int,
    defaults: Defaults,
    own: Collection[str] = (),
) -> Parameters:
    """One rule's resources as the parameters of its submission.

    own: names that the workflow limits by `--resources NAME=N` on its own account; they have no meaning here.
    Raises ResourceError for an unknown name, a number that cannot be, or names that contradict each other.
    """
    _check_names(name, resources, own)
    counts = {key: _count(name, key, resources[key]) for key in _COUNTS if resources.get(key) is not None}
    nodes = counts.get("nodes", 1)
    tasks = counts.get("tasks_per_node", 1)
    if "mem_mb" in counts and "mem_mb_per_cpu" in counts:
        raise ResourceError(f"rule {name}: mem_mb and mem_mb_per_cpu contradict each other. Give one of them.")
    return Parameters(
        name=name,
        runtime_minutes=counts.get("runtime", defaults.runtime_minutes),
        cpus_per_node=counts["cpus_per_task"] * tasks if "cpus_per_task" in counts else max(threads, tasks),
        nodes=nodes,
        gpus_per_node=_gpus_per_node(name, resources, nodes),
        mem_mb=counts["mem_mb"] + defaults.memory_overhead_mb if "mem_mb" in counts else None,
        mem_mb_per_cpu=counts.get("mem_mb_per_cpu"),
        **{
            key: _text(name, f"slurm_{key}", resources.get(f"slurm_{key}")) or getattr(defaults, key)
            for key in ("partition", "account", "qos", "constraint", "exclude")
        },
    )


def _check_names(name: str, resources: Mapping[str, Any], own: Collection[str]) -> None:
    for key in resources:
        if key in NAMES or key in _IGNORED or key in own:
            continue
        if key in _ELSEWHERE:
            raise ResourceError(f"rule {name}: resource {key!r} is not this executor's. Use {_ELSEWHERE[key]}.")
        close = difflib.get_close_matches(key, NAMES, n=2)
        hint = f"Did you mean {' or '.join(close)}? " if close else ""
        raise ResourceError(
            f"rule {name}: unknown resource {key!r}. {hint}Valid names: {', '.join(NAMES)}. "
            f"For a limit of the workflow's own, give --resources {key}=N."
        )


def _gpus_per_node(name: str, resources: Mapping[str, Any], nodes: int) -> int:
    total, each = (resources.get(key) for key in ("gpus", "gpus_per_node"))
    total = None if total is None else _count(name, "gpus", total, least=0)
    each = None if each is None else _count(name, "gpus_per_node", each, least=0)
    if total is not None and total % nodes:
        raise ResourceError(f"rule {name}: gpus={total} cannot be shared equally by nodes={nodes}.")
    if total is not None and each is not None and total != each * nodes:
        raise ResourceError(f"rule {name}: gpus={total} contradicts nodes={nodes} x gpus_per_node={each}. Give one.")
    return each if each is not None else (total or 0) // nodes


def _count(rule: str, key: str, value: Any, least: int = 1) -> int:
    try:
        count = int(value)
    except (TypeError, ValueError):
        raise ResourceError(f"rule {rule}: {key}={value!r} is not a whole number ({NAMES[key]}).") from None
    if isinstance(value, bool) or count != float(value) or count < least:
        raise ResourceError(f"rule {rule}: {key}={value!r} must be a whole number of at least {least} ({NAMES[key]}).")
    return count


def _text(rule: str, key: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise ResourceError(f"rule {rule}: {key}={value!r} must be a non-empty text ({NAMES[key]}).")
    if problem := line_problem(value):
        raise ResourceError(f"rule {rule}: {key}={value!r} {problem} ({NAMES[key]}).")
    return value


def line_problem(value: str) -> str | None:
    """Why a text cannot stand in a job script's `#SBATCH` line; None where it can.

    A line break would end the comment, and what follows it would run as a command.
    """
    return "must be one line without control characters" if not value.isprintable() else None
