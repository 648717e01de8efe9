"""Snakemake's resources as the request of one submission."""

from __future__ import annotations

from typing import Any

import pytest

from snakemake_executor_plugin_submitit.backends import array_chunks, sbatch_parameters, signal_delay
from snakemake_executor_plugin_submitit.errors import ResourceError
from snakemake_executor_plugin_submitit.resources import Defaults, Parameters, map_resources
from snakemake_executor_plugin_submitit.settings import ExecutorSettings


def mapped(threads: int = 1, **resources: Any) -> Parameters:
    return map_resources("train", resources, threads, Defaults(runtime_minutes=60, partition="cpu"))


@pytest.mark.parametrize(
    ("threads", "resources", "expected"),
    [
        (1, {}, Parameters("train", 60, 1, partition="cpu")),
        (8, {"runtime": 30, "mem_mb": 2000}, Parameters("train", 30, 8, mem_mb=2000, partition="cpu")),
        (1, {"gpus": 1}, Parameters("train", 60, 1, gpus_per_node=1, partition="cpu")),
        # One JUWELS Booster rule: 2 nodes x 4 A100, 12 CPUs a rank.
        (
            1,
            {"nodes": 2, "gpus": 8, "tasks_per_node": 4, "cpus_per_task": 12, "slurm_partition": "booster"},
            Parameters("train", 60, 48, nodes=2, gpus_per_node=4, partition="booster"),
        ),
        (1, {"nodes": 2, "gpus_per_node": 2, "gpus": 4}, Parameters("train", 60, 1, 2, 2, partition="cpu")),
        (2, {"tasks_per_node": 4}, Parameters("train", 60, 4, partition="cpu")),
        (1, {"mem_mb_per_cpu": 500}, Parameters("train", 60, 1, mem_mb_per_cpu=500, partition="cpu")),
        (1, {"tmpdir": "/tmp", "disk_mb": 5, "launcher": ""}, Parameters("train", 60, 1, partition="cpu")),
        (
            1,
            {"slurm_account": "clip", "slurm_exclude": "n3"},
            Parameters("train", 60, 1, partition="cpu", account="clip", exclude="n3"),
        ),
    ],
)
def test_a_rules_resources_become_one_request(threads: int, resources: dict[str, Any], expected: Parameters) -> None:
    assert mapped(threads, **resources) == expected


@pytest.mark.parametrize(
    ("resources", "words"),
    [
        ({"gpuss": 1}, "unknown resource 'gpuss'. Did you mean gpus"),
        ({"colour": 1}, "unknown resource 'colour'. Valid names: runtime, mem_mb"),
        ({"gpu": 1}, "resource 'gpu' is not this executor's. Use `gpus`."),
        ({"gres": "gpu:4"}, "Use `gpus` or `gpus_per_node` for GPUs, --submitit-sbatch 'gres=...' for anything else."),
        ({"slurm_extra": "--nice"}, "Use --submitit-sbatch 'name=value;flag'."),
        ({"walltime": 1}, "Use `runtime`, minutes."),
        # The second line would run as a command on the first node.
        ({"slurm_partition": "gpu\ntouch broken"}, "must be one line without control characters"),
        ({"gpus": 3, "nodes": 2}, "gpus=3 cannot be shared equally by nodes=2"),
        ({"gpus": 4, "gpus_per_node": 4, "nodes": 2}, "gpus=4 contradicts nodes=2 x gpus_per_node=4"),
        ({"mem_mb": 1, "mem_mb_per_cpu": 1}, "contradict each other"),
        ({"runtime": "soon"}, "runtime='soon' is not a whole number"),
        ({"nodes": 0}, "nodes=0 must be a whole number of at least 1"),
        ({"gpus": 0.5}, "gpus=0.5 must be a whole number of at least 0"),
        ({"slurm_partition": ""}, "slurm_partition='' must be a non-empty text"),
    ],
)
def test_what_cannot_be_is_refused_with_the_rule_and_the_way_out(resources: dict[str, Any], words: str) -> None:
    with pytest.raises(ResourceError) as error:
        mapped(**resources)
    assert str(error.value).startswith("rule train: ") and words in str(error.value)


def test_snakemake_in_the_job_gets_memory_of_its_own() -> None:
    overhead = Defaults(memory_overhead_mb=300)
    assert map_resources("train", {"mem_mb": 5}, 1, overhead).mem_mb == 305
    assert map_resources("train", {}, 1, overhead).mem_mb is None  # the cluster's own default


def test_a_limit_of_the_workflows_own_is_let_through() -> None:
    assert map_resources("fetch", {"downloads": 1}, 1, Defaults(), own={"downloads"}).cpus_per_node == 1


def test_more_memory_is_a_multiple_of_the_last() -> None:
    assert mapped(mem_mb=2000).with_memory(1.5).mem_mb == 3000
    assert mapped(mem_mb_per_cpu=500).with_memory(1.5).mem_mb_per_cpu == 750
    assert mapped().with_memory(1.5) == mapped()


def test_excluded_nodes_add_up_without_repetition() -> None:
    once = mapped(slurm_exclude="n1").without_nodes(["n3", "n2"])
    assert once.exclude == "n1,n2,n3"
    assert once.without_nodes(["n2"]).exclude == "n1,n2,n3"


def test_a_request_in_sbatchs_words() -> None:
    settings = ExecutorSettings(setup="module load CUDA; export A=1", sbatch="reservation=clip;--exclusive")
    parameters = Parameters("train", 30, 48, 2, 4, mem_mb=9000, partition="booster", account="clip")
    assert sbatch_parameters(parameters, settings, "token") == {
        "job_name": "train",
        "time": 30,
        "nodes": 2,
        "ntasks_per_node": 1,
        "cpus_per_task": 48,
        "gpus_per_node": 4,
        "mem": "9000M",
        "partition": "booster",
        "account": "clip",
        "signal_delay_s": 120,
        "array_parallelism": 256,
        "comment": "token",
        "stderr_to_stdout": True,
        "wckey": None,
        "srun_args": ["--wait=0"],
        "additional_parameters": {"reservation": "clip", "exclusive": True},
        "setup": ["module load CUDA", "export A=1"],
    }


@pytest.mark.parametrize(("minutes", "seconds"), [(1, 15), (4, 60), (8, 120), (600, 120)])
def test_a_short_job_is_asked_to_save_after_three_quarters_of_its_time(minutes: int, seconds: int) -> None:
    assert signal_delay(Parameters("train", minutes, 1), ExecutorSettings()) == seconds


@pytest.mark.parametrize(
    ("count", "max_array_size", "room", "expected"),
    [
        (5, 1001, None, [range(0, 5)]),
        (2500, 1001, None, [range(0, 1001), range(1001, 2002), range(2002, 2500)]),
        (2500, 1001, 1200, [range(0, 1001), range(1001, 1200)]),
        (3, 1001, 0, []),
        (3, 1001, -4, []),
        (3, 1, None, [range(0, 1), range(1, 2), range(2, 3)]),
    ],
)
def test_arrays_are_split_at_the_clusters_limits(
    count: int, max_array_size: int, room: int | None, expected: list[range]
) -> None:
    assert array_chunks(count, max_array_size, room) == expected
